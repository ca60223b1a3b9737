"""Opens a page in a headless browser and prints what it reports: browser.py PAGE ROOT… serves the folders ROOT, the first
that has a file, and opens PAGE. The page posts lines to /say, and to /end whether all was right, which is the exit status.
browser.py --serve PORT ROOT… serves them for a browser of one's own.

WebGPU runs on SwiftShader, which Chromium brings along. SHADERNET_BROWSER names another browser of that family.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

# a page that says nothing for so long hangs
PATIENCE = 300
FLAGS = [
    "--headless=new", "--no-sandbox", "--disable-gpu-watchdog", "--enable-unsafe-webgpu", "--use-webgpu-adapter=swiftshader",
    "--enable-features=Vulkan", "--no-first-run", "--disable-extensions", "--disable-background-networking",
    "--disable-background-timer-throttling", "--disable-renderer-backgrounding", "--enable-logging=stderr",
]  # fmt: skip


def browser() -> str | None:
    named = os.environ.get("SHADERNET_BROWSER")
    return named or next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


class Pages(SimpleHTTPRequestHandler):
    """Files of several folders, and an ear for what the page says."""

    roots: list[Path] = []
    heard = threading.Event()
    ended = threading.Event()
    right = False

    extensions_map = SimpleHTTPRequestHandler.extensions_map | {".wasm": "application/wasm", ".js": "text/javascript"}

    def translate_path(self, path: str) -> str:
        relative = super().translate_path(path)[len(os.getcwd()) :].lstrip("/")
        found = (root / relative for root in self.roots)
        return str(next((p for p in found if p.exists()), self.roots[0] / relative))

    def do_POST(self) -> None:
        said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(204)
        self.end_headers()
        Pages.heard.set()
        if self.path == "/say":
            print(said, flush=True)
        elif self.path == "/end":
            Pages.right = said is True
            Pages.ended.set()

    def log_message(self, *_) -> None:
        pass


def serve(port: int, roots: list[str]) -> ThreadingHTTPServer:
    """Serves files of `roots` from a thread of its own; port 0 is any."""
    Pages.roots = [Path(r).resolve() for r in roots]
    server = ThreadingHTTPServer(("127.0.0.1", port), Pages)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def main(page: str, roots: list[str]) -> int:
    found = browser()
    if not found:
        print("No browser (package chromium): nothing was tested in one.")
        return 3
    server = serve(0, roots)
    address = f"http://127.0.0.1:{server.server_port}/{page}"
    with tempfile.TemporaryDirectory() as profile, tempfile.TemporaryFile() as log:
        process = subprocess.Popen([found, *FLAGS, f"--user-data-dir={profile}", address], stdout=log, stderr=log)
        while not Pages.ended.wait(1):
            if process.poll() is not None or not Pages.heard.wait(PATIENCE):
                print("The browser ended." if process.poll() is not None else "The page says nothing.")
                break
            Pages.heard.clear()
        process.terminate()
        process.wait()
        if not Pages.right:
            log.seek(0)
            lines = [line for line in log.read().decode(errors="replace").splitlines() if ":CONSOLE" in line]
            print("\n".join(lines[-40:]))
    return 0 if Pages.right else 1


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        serve(int(sys.argv[2]), sys.argv[3:])
        threading.Event().wait()
    sys.exit(main(sys.argv[1], sys.argv[2:]))
