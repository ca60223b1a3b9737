Bx4J
‹γλAΞqέjγ^uL