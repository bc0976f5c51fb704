"""A hookbro with a broker and a stand-in for Svix, filled with events that went well, badly and maliciously."""

import contextlib
import json
import os
import pathlib
import re
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Values that would act if any page let them.
SCRIPT = '<script>window.hacked=1;alert(1)</script>'
IMAGE = '"><img src=x onerror=window.hacked=1>'
SOON = 60
# Events that Svix refuses once, and those that tests of changes have for themselves.
REFUSED = [f"evt_refused_{n}" for n in range(3)]
SPARE_HOOK = "https://hooks.spare.example/in"
SPARE = ["evt_again_0", "evt_again_1", "evt_again_2", "evt_gone_0", "evt_gone_1"]


def until(what, look, patience=SOON):
    """What `look` finds, once it finds something."""
    end = time.monotonic() + patience
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"not within {patience} s: {what}")
        time.sleep(0.1)


def free_ports(count):
    # All held at once: one that is let go of could be found again for the next.
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def ask(url, data=None, headers=None, method=None):
    """Status, headers and text of an answer, whatever its status; redirects are not followed."""

    class Stay(urllib.request.HTTPRedirectHandler):
        def redirect_request(self, *_):
            return None

    request = urllib.request.Request(url, data=data, headers=headers or {}, method=method)
    opener = urllib.request.build_opener(Stay, urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=20) as answer:
            return answer.status, answer.headers, answer.read().decode()
    except urllib.error.HTTPError as answer:
        return answer.code, answer.headers, answer.read().decode()


class Endpoints(ThreadingHTTPServer):
    """Stands before the sandbox, which delivers nothing, and tells what endpoints made of a message."""

    daemon_threads = True

    def __init__(self, port, behind):
        self.behind = behind
        # Event id: endpoints, each `(url, status, seconds until the next attempt or none, [(status, code, answer)])`.
        self.scripted = {}
        super().__init__(("127.0.0.1", port), Answers)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def handle_any(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        path = urllib.parse.urlparse(self.path).path
        of_endpoints = re.fullmatch(r"/api/v1/app/([^/]+)/msg/([^/]+)/endpoint", path)
        of_attempts = re.fullmatch(r"/api/v1/app/[^/]+/attempt/msg/([^/]+)", path)
        if self.command == "GET" and of_endpoints:
            return self.tell(200, self.endpoints(*of_endpoints.groups()))
        if self.command == "GET" and of_attempts:
            return self.tell(200, self.attempts(of_attempts[1]))
        passed = {name: value for name, value in self.headers.items() if name.lower() not in ("host", "content-length")}
        status, headers, text = ask(
            self.server.behind + self.path, data=body or None, headers=passed, method=self.command
        )
        self.tell(status, text, headers.get("retry-after"))

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = handle_any

    def tell(self, status, text, retry_after=None):
        body = (text if isinstance(text, str) else json.dumps({"data": text, "done": True, "iterator": None})).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        if retry_after:
            self.send_header("retry-after", retry_after)
        self.end_headers()
        self.wfile.write(body)

    def endpoints(self, app, event):
        if event not in self.server.scripted:
            listed = f"{self.server.behind}/api/v1/app/{app}/endpoint"
            status, _, text = ask(listed, headers={"authorization": self.headers["authorization"]})
            known = json.loads(text)["data"] if status == 200 else []
            return [{"id": one["id"], "url": one["url"], "status": 0, "statusText": "success"} for one in known]
        return [
            {
                "id": f"ep_{n}",
                "url": url,
                "status": 0,
                "statusText": status,
                "nextAttempt": stamp(after) if after else None,
            }
            for n, (url, status, after, _) in enumerate(self.server.scripted.get(event, []))
        ]

    def attempts(self, event):
        made = []
        # All in the past, the last one just now.
        for n, (url, _, _, calls) in enumerate(self.server.scripted.get(event, [])):
            for k, (status, code, answer) in enumerate(calls):
                made.append(
                    {
                        "timestamp": stamp(0.4 * (k + 1 - len(calls)) - 0.1 * n),
                        "endpointId": f"ep_{n}",
                        "url": url,
                        "statusText": status,
                        "responseStatusCode": code,
                        "response": answer,
                        "responseDurationMs": 40 + 31 * n,
                    }
                )
        return sorted(made, key=lambda one: one["timestamp"], reverse=True)


def stamp(after):
    moment = time.time() + after
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(moment)) + f".{int(moment % 1 * 1e6):06}Z"


def event(name, project, kind="com.gigs.sim.updated"):
    return {
        "object": "event", "id": name, "project": project, "type": kind, "specversion": "1.0",
        "source": "https://api.gigs.com", "datacontenttype": "application/json", "time": stamp(0), "data": {"id": "sim_1"},
    }  # fmt: skip


class World:
    def __init__(self, program, broker, folder):
        self.program, self.folder, self.running = program, pathlib.Path(folder), []
        self.more = 0
        svix, behind, pages, locked = free_ports(4)
        self.sandbox, self.url = f"http://127.0.0.1:{behind}", f"http://127.0.0.1:{pages}"
        self.locked = f"http://127.0.0.1:{locked}"
        self.environment = {
            **os.environ,
            "HOOKBRO__BROKER__URL": broker,
            "HOOKBRO__BROKER__QUEUE": f"hookbro.console.{os.getpid()}",
            "HOOKBRO__BROKER__EXCHANGE": f"gigs.console.{os.getpid()}",
            "HOOKBRO__SVIX__URL": f"http://127.0.0.1:{svix}",
            "HOOKBRO__SVIX__TOKEN": "sandbox",
            "HOOKBRO__RETRY__DELAYS": "1s,2s,20m",
            "HOOKBRO__ADMIN__LISTEN": f"127.0.0.1:{pages}",
            "HOOKBRO__JOURNAL__URL": f"sqlite:{folder}/journal.sqlite3",
            "HOOKBRO__LOG__FORMAT": "json",
            # Where discarded events are written to.
            "STATE_DIRECTORY": str(folder),
        }
        self.endpoints = Endpoints(svix, self.sandbox)
        self.start("sandbox", "sandbox", "--listen", f"127.0.0.1:{behind}")
        self.start("hookbro", "run")

    def start(self, name, *arguments, **environment):
        log = open(self.folder / f"{name}.log", "w")
        self.running.append(
            subprocess.Popen([self.program, *arguments], env={**self.environment, **environment}, stdout=log, stderr=log)
        )

    def start_locked(self):
        """A second replica, whose pages want a token. It shares the journal."""
        self.start(
            "locked", "run",
            HOOKBRO__ADMIN__LISTEN=self.locked.removeprefix("http://"),
            HOOKBRO__ADMIN__TOKENS="first-token,second-token",
        )  # fmt: skip
        self.ready(self.locked)

    def ready(self, url):
        def answers():
            try:
                return ask(f"{url}/readyz")[0] == 200
            except OSError:
                return False

        until("hookbro is ready", answers)

    def end(self):
        self.endpoints.shutdown()
        for process in self.running:
            process.terminate()
        for process in self.running:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()

    def fault(self, **fault):
        status, _, text = ask(
            f"{self.sandbox}/sandbox/v1/faults", json.dumps(fault).encode(), {"content-type": "application/json"}
        )
        assert status == 201, text

    def heal(self):
        ask(f"{self.sandbox}/sandbox/v1/faults", method="DELETE")

    def delivered(self, event_id):
        """How many messages the sandbox has for this event."""
        _, _, text = ask(f"{self.sandbox}/sandbox/v1/messages?event_id={event_id}")
        return len(json.loads(text)["messages"])

    def publish(self, text, *arguments):
        data = text if isinstance(text, bytes) else text.encode()
        subprocess.run(
            [self.program, "publish", *arguments, "-"], input=data, env=self.environment, check=True, capture_output=True
        )

    def publish_any(self, data):
        command = [self.program, "publish", "--routing-key", "bad.event", "-"]
        return subprocess.run(command, input=data, env=self.environment, capture_output=True).returncode == 0

    def story(self, event_id):
        status, _, text = ask(f"{self.url}/api/v1/events/{event_id}")
        return json.loads(text) if status == 200 else None

    def settled(self, event_id, outcome, attempts=1):
        def look():
            story = self.story(event_id)
            return story and story["outcome"] == outcome and len(story["attempts"]) >= attempts

        until(f"{event_id} is {outcome}", look)

    def one_more(self):
        self.more += 1
        self.publish(json.dumps(event(f"evt_more_{self.more}", "acme-mobile")))

    def fill(self, hostile=True):
        """Events that go well, one that is tried again, some that are given up, and some that mean harm."""
        self.ready(self.url)
        refusal = {"detail": [{"loc": ["body", "payload"], "msg": SCRIPT, "type": "value_error"}]}
        self.fault(event_id="evt_sick", status=503)
        for name in (*REFUSED, *SPARE):
            self.fault(event_id=name, status=422, body=json.dumps(refusal))
        hook = "https://hooks.acme.example/gigs"
        self.endpoints.scripted = {
            "evt_well": [
                (hook, "success", None, [("success", 200, "ok")]),
                (
                    "https://legacy.acme.example/in", "pending", 290,
                    [("fail", 500, "upstream timed out"), ("fail", 0, ""), ("fail", 503, "maintenance")],
                ),
                ("https://crm.acme.example/events/gigs", "success", None, [("fail", 502, "bad gateway"), ("success", 204, "")]),
            ],
            "evt_hostile": [
                (f"https://x.example/{IMAGE}{SCRIPT}", "success", None, [("success", 200, IMAGE + SCRIPT)]),
                ("javascript:window.hacked=1", "fail", 60, [("fail", 500, SCRIPT + "\u202e\x1b[2J")]),
                (f"https://y.example/{'long' * 60}", SCRIPT, None, [(SCRIPT, 200, "a" * 400)]),
            ],
        }  # fmt: skip
        well = [event(f"evt_acme_{n}", "acme-mobile", ["com.gigs.sim.updated", "com.gigs.user.created"][n % 2]) for n in range(8)]
        well += [event("evt_well", "acme-mobile"), event("evt_hostile", "dev"), event("evt_shared", "acme-mobile"), event("evt_shared", "dev")]
        ill = [event("evt_sick", "acme-mobile", "com.gigs.subscription.activated")]
        ill += [event(name, "dev", "com.gigs.porting.declined") for name in REFUSED]
        ill += [event(name, "spare") for name in SPARE] if hostile else []
        self.publish("\n".join(json.dumps(one) for one in well + ill))
        self.publish("\n".join(self.good()))
        if hostile:
            self.fill_hostile()
        self.settled("evt_sick", "retried", attempts=3)
        for name in ("evt_well", "evt_hostile"):
            self.settled(name, "delivered")
        for name in (*REFUSED, *SPARE) if hostile else REFUSED:
            self.settled(name, "dead")
        self.heal()

    def good(self):
        """The sample events, as if they were of now."""
        for path in sorted((ROOT / "tests/events/good").glob("*.json")):
            yield json.dumps({**json.loads(path.read_bytes()), "time": stamp(0)})

    def fill_hostile(self):
        self.publish(json.dumps(event(SCRIPT, IMAGE, SCRIPT)), "--routing-key", f"x.{IMAGE}{SCRIPT}")
        self.publish(json.dumps(event("evt_odd_key", "dev")), "--routing-key", f"dev.{SCRIPT}")
        # What is no JSON at all is refused by `publish` already.
        taken = sum(self.publish_any(bad.read_bytes()) for bad in sorted((ROOT / "tests/events/bad").glob("*.json")))
        assert taken > 20, f"only {taken} bad events were published"
        self.publish(json.dumps(event("evt_resent", "spare")))
        self.publish(json.dumps(event("evt_rested_0", "rested")))
        provision = [self.program, "apps", "provision", "spare", "--endpoint", SPARE_HOOK]
        subprocess.run(provision, env=self.environment, check=True, capture_output=True)
        for name in ("evt_odd_key", "evt_resent", "evt_rested_0"):
            self.settled(name, "delivered")
