"""nginx: files over HTTP and HTTPS with ranges and ETags, and a proxy that only adds latency, at full speed.

It writes each request down before it answers, so a test may count them right after a reply. Faults are the business of
``FaultProxy``, which is slower.
"""

import contextlib
import os
import re
import signal
import subprocess
import urllib.parse
import urllib.request
from pathlib import Path

from tests.servers.faults import Request
from tests.servers.process import HOST, STOP_DEADLINE, Server, ServerError, find_program, http_status

CONFIGURATION = """
{user}
daemon off;
pid nginx.pid;
error_log stderr warn;
worker_processes 2;
load_module {modules}/ndk_http_module.so;
load_module {modules}/ngx_http_lua_module.so;
events {{ worker_connections 1024; }}
http {{
    access_log off;
    default_type application/octet-stream;
    client_body_temp_path tmp;
    proxy_temp_path tmp;
    fastcgi_temp_path tmp;
    uwsgi_temp_path tmp;
    scgi_temp_path tmp;
    client_max_body_size 0;
    merge_slashes off;
    sendfile on;
    tcp_nodelay on;
    keepalive_requests 1000000;
    lua_shared_dict control 64m;

    # each request: written down, then delayed
    access_by_lua_block {{
        local control = ngx.shared.control
        local line = ngx.var.request_method .. " " .. ngx.var.request_uri .. " " .. (ngx.var.http_range or "")
        control:rpush("requests", line)
        local latency = control:get("latency")
        if latency and latency > 0 then ngx.sleep(latency) end
    }}

    server {{ # files
        listen {host}:{files_port};
        listen {host}:{tls_port} ssl;
        ssl_certificate server.pem;
        ssl_certificate_key server.key;
        root files;
    }}
    server {{ # settings while it runs
        listen {host}:{control_port};
        location / {{
            access_by_lua_block {{ return }}
            content_by_lua_block {{
                local control = ngx.shared.control
                if ngx.var.uri == "/latency" then
                    control:set("latency", tonumber(ngx.var.arg_seconds))
                elseif ngx.var.uri == "/forget" then
                    control:delete("requests")
                elseif ngx.var.uri == "/requests" then
                    local line = control:lpop("requests")
                    while line do
                        ngx.say(line)
                        line = control:lpop("requests")
                    end
                end
            }}
        }}
    }}
    {proxy}
}}
"""

PROXY = """
    upstream behind {{ server {upstream}; keepalive 64; keepalive_requests 1000000; }}
    server {{ # the request unchanged, with its Host header, so that signatures stay valid
        listen {host}:{proxy_port};
        location / {{
            proxy_pass http://behind;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
            proxy_request_buffering off;
            proxy_buffering off;
            proxy_buffer_size 256k;
            proxy_buffers 4 256k;
            proxy_read_timeout 600s;
        }}
    }}
"""


class Nginx(Server):
    """Serves ``files`` of the directory at ``url`` and ``https_url``, and what is behind it at ``proxy_url``.

    ``upstream`` is the URL of a server on loopback, without a path.
    """

    ports_needed = 4

    def __init__(self, directory, upstream=None) -> None:
        super().__init__(directory)
        self.upstream = upstream
        self.files = self.directory / "files"
        self.certificate = self.directory / "authority.pem"  # what a client must trust
        self._requests: list[Request] = []

    def command(self):
        program = find_program("nginx", hint="apt-get install nginx libnginx-mod-http-lua")
        for path in (self.files, self.directory / "tmp"):
            path.mkdir(exist_ok=True)
        if not self.certificate.exists():
            _make_certificates(self.directory)
        files, tls, control, proxy = self.ports
        proxied = ""
        if self.upstream is not None:
            proxied = PROXY.format(upstream=urllib.parse.urlsplit(self.upstream).netloc, host=HOST, proxy_port=proxy)
        configuration = CONFIGURATION.format(
            user="user root;" if os.geteuid() == 0 else "",  # temporary directories belong to whoever runs the tests
            modules=_modules(program), host=HOST, files_port=files, tls_port=tls, control_port=control, proxy=proxied,
        )  # fmt: skip
        (self.directory / "nginx.conf").write_text(configuration)
        return [program, "-p", ".", "-c", "nginx.conf", "-e", "stderr"]

    def start(self):
        super().start()
        self.forget()
        return self

    def answers(self):
        return all(http_status(url) for url in (self.url, self._control("/")))

    def kill(self):
        if self.running:
            self._process.send_signal(signal.SIGTERM)  # by SIGKILL its workers would outlive it
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_DEADLINE)
        super().kill()

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.ports[0]}"

    @property
    def https_url(self) -> str:
        return f"https://localhost:{self.ports[1]}"

    @property
    def proxy_url(self) -> str:
        assert self.upstream is not None, "this server has nothing behind it"
        return f"http://{HOST}:{self.ports[3]}"

    def put(self, path, content: bytes) -> str:
        """Write a file, and return its URL. Its ETag, made of size and second of change, differs from that before."""
        target = self.files / path
        target.parent.mkdir(parents=True, exist_ok=True)
        before = target.stat().st_mtime if target.exists() else 0
        draft = target.with_name(f".{target.name}.new")
        draft.write_bytes(content)
        changed = max(int(draft.stat().st_mtime), int(before) + 1)
        os.utime(draft, (changed, changed))
        draft.rename(target)
        return f"{self.url}/{urllib.parse.quote(str(path))}"

    def set_latency(self, seconds: float) -> None:
        """Delay every request, to files and to the proxy, until this is called again."""
        self._ask(f"/latency?seconds={seconds}")

    def requests(self) -> list[Request]:
        """Return what was asked for, in order, since the start or the last ``forget``."""
        for line in self._ask("/requests").splitlines():
            method, path, wanted = line.split(" ", 2)
            self._requests.append(Request(method, path, wanted or None))
        return list(self._requests)

    def forget(self) -> None:
        """Forget the requests that were made so far."""
        self._ask("/forget")
        self._requests.clear()

    def _control(self, path) -> str:
        return f"http://{HOST}:{self.ports[2]}{path}"

    def _ask(self, path) -> str:
        with urllib.request.urlopen(self._control(path), timeout=60) as response:
            return response.read().decode()


def _modules(program: str) -> str:
    told = subprocess.run([program, "-V"], capture_output=True, text=True, check=True).stderr
    found = re.search(r"--modules-path=(\S+)", told)
    path = Path(found[1] if found else "/usr/lib/nginx/modules")
    if not (path / "ngx_http_lua_module.so").exists():
        raise ServerError("nginx has no Lua module: apt-get install libnginx-mod-http-lua")
    return str(path)


def _make_certificates(directory: Path) -> None:
    """Make an authority and a certificate of it for localhost and 127.0.0.1."""
    openssl = find_program("openssl", hint="apt-get install openssl")
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    common = [openssl, "req", "-x509", "-days", "30", "-config", "/dev/null"]
    for arguments in (
        [*common, *key, "-subj", "/CN=tests authority", "-addext", "basicConstraints=critical,CA:TRUE",
         "-keyout", "authority.key", "-out", "authority.pem"],
        [*common, *key, "-subj", "/CN=localhost", "-addext", f"subjectAltName=DNS:localhost,IP:{HOST}",
         "-addext", "basicConstraints=critical,CA:FALSE", "-CA", "authority.pem", "-CAkey", "authority.key",
         "-keyout", "server.key", "-out", "server.pem"],
    ):  # fmt: skip
        done = subprocess.run(arguments, cwd=directory, capture_output=True, text=True)
        if done.returncode:
            raise ServerError(f"openssl failed with code {done.returncode}\n{done.stderr}")
