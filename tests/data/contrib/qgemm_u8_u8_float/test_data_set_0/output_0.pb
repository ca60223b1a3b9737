By0JŒ½EîAß2Aãv	Á$BBï©>rõEAm%tÀÆ¤AŠìÌ@({À¬nîAØVˆ>òÎ·@eå>Ä°ãA»/AÉÓýÀˆ/Bg:ä½ÐðKAu+Á‹Bj÷qA	¶GÁ
kB€l¿ajAÃÔTÁ1„Bûh?Aç}9Á˜*BÅn¿#îŠAoS›Á