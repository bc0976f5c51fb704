"""Debian's Chromium, made to reach nothing but the pages, and watched for whatever should not happen on them."""

import contextlib
import shutil

from playwright.sync_api import sync_playwright

FLAGS = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-proxy-server",
]  # fmt: skip


@contextlib.contextmanager
def chromium():
    """A browser with a fresh profile."""
    with sync_playwright() as playwright:
        program = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=program, headless=True, args=FLAGS)
        try:
            yield browser
        finally:
            browser.close()


class Watched:
    """A page, and what went wrong on it: dialogs, scripts that ran or were stopped, errors, requests to elsewhere."""

    def __init__(self, browser, world, **options):
        options.setdefault("viewport", {"width": 1280, "height": 900})
        self.context = browser.new_context(**options)
        self.context.set_default_timeout(30_000)
        self.context.add_init_script(
            "document.addEventListener('securitypolicyviolation', e => console.error('policy: ' + e.violatedDirective));"
        )
        self.world, self.wrongs, self.allowed = world, [], set()
        self.page = self.context.new_page()
        self.page.on("dialog", self.dialog)
        self.page.on("pageerror", lambda error: self.wrongs.append(f"error: {error}"))
        self.page.on("console", self.said)
        self.page.on("request", self.asked)

    def dialog(self, dialog):
        self.wrongs.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def said(self, message):
        # A page that is a refusal says so in the console too.
        if message.type in ("error", "warning") and "Failed to load resource" not in message.text:
            self.wrongs.append(f"console: {message.text}")

    def asked(self, request):
        if not request.url.startswith((self.world.url, self.world.locked, "data:", *self.allowed)):
            self.wrongs.append(f"request to {request.url}")

    def open(self, path):
        answer = self.page.goto(self.world.url + path)
        return answer.status

    def check(self):
        if self.page.evaluate("() => window.hacked !== undefined"):
            self.wrongs.append("a value of an event ran as a script")
        assert not self.wrongs, self.wrongs

    def close(self):
        self.context.close()
