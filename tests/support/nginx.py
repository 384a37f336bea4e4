"""The real nginx in front of adapters, as deploy/nginx configures it."""

import subprocess
import time
from pathlib import Path
from string import Template

import httpx

from tests.support.service import free_port

CONFIGURATION = Path(__file__).parents[2] / "deploy" / "nginx" / "imgr.conf.template"
AROUND = """
user root;
daemon off;
pid nginx.pid;
error_log nginx.log;
events {}
http {
    access_log off;
    client_body_temp_path bodies;
    proxy_temp_path proxied;
    fastcgi_temp_path unused;
    uwsgi_temp_path unused;
    scgi_temp_path unused;
    include imgr.conf;
}
"""


class Nginx:
    """One nginx. It ends with the test."""

    def __init__(self, folder: Path, first: str, second: str):
        folder.mkdir()
        bind = f"127.0.0.1:{free_port()}"
        self.url = f"http://{bind}"
        configuration = Template(CONFIGURATION.read_text())
        (folder / "imgr.conf").write_text(
            configuration.safe_substitute(
                IMGR_BIND=bind,
                IMGR_ADAPTER_1=first.removeprefix("http://"),
                IMGR_ADAPTER_2=second.removeprefix("http://"),
            )
        )
        (folder / "nginx.conf").write_text(AROUND)
        self.process = subprocess.Popen(["nginx", "-p", folder, "-c", "nginx.conf", "-e", folder / "nginx.log"])

    def wait_until_ready(self):
        deadline = time.monotonic() + 30
        while True:
            try:
                httpx.get(f"{self.url}/metrics")
                return self
            except httpx.TransportError:
                assert self.process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)

    def stop(self):
        self.process.terminate()  # killed, it would leave its workers behind
        self.process.wait(30)
