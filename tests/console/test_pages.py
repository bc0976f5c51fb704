"""The console in a real Chromium. One hookbro serves all tests; none of them changes what another looks at."""

import base64
import contextlib
import re
import unittest

from browser import Watched
from world import IMAGE, SCRIPT, ask, until

PATHS = [
    "/", "/events", "/events?outcome=dead", "/events?window=24h&project=dev", "/events/evt_well", "/events/evt_sick",
    "/events/evt_hostile", "/events/evt_odd_key", "/events/evt_refused_0", "/events/evt_shared", "/projects",
    "/projects/dev", "/projects/acme-mobile", "/dead", "/dead?project=dev&reason=refused", "/audit", "/parked",
    "/projects/spare/endpoints", "/projects/rested", "/events/evt_resent", "/find?q=nothing.of.that.name",
]  # fmt: skip


class Console(unittest.TestCase):
    world = None
    browser = None

    @contextlib.contextmanager
    def page(self, **options):
        watched = Watched(self.browser, self.world, **options)
        try:
            yield watched
            watched.check()
        finally:
            watched.close()

    def pages(self):
        """Every page there is, by path."""
        return PATHS


class Finding(Console):
    def test_an_event_id_leads_from_the_search_box_to_its_timeline(self):
        with self.page() as watched:
            page = watched.page
            watched.open("/")
            page.get_by_role("searchbox").fill(" evt_well ")
            page.get_by_role("button", name="Find").click()
            page.wait_for_url("**/events/evt_well")
            self.assertIn("evt_well", page.title())
            shown = page.locator("#description").inner_text()
            for part in ("accepted by Svix", "https://legacy.acme.example/in", "upstream timed out", "next attempt at"):
                self.assertIn(part, shown)
            lanes = page.locator("svg.swim-lanes .label").all_text_contents()
            self.assertEqual(lanes[:3], ["Queue", "Attempt", "Svix"])
            self.assertEqual(len(lanes), 6)
            self.assertEqual(page.locator("svg.mark.to-come").count(), 1)

    def test_a_retry_shows_its_delays_and_when_it_is_due(self):
        with self.page() as watched:
            watched.open("/events/evt_sick")
            page = watched.page
            self.assertIn("Delay", page.locator("svg.swim-lanes .label").all_text_contents())
            self.assertEqual(page.locator("svg.swim-lanes .delay").count(), 3)
            self.assertIn("20 min", page.locator("svg.swim-lanes").text_content())
            self.assertIn("Attempt 4 is due", page.locator("#state").inner_text())

    def test_projects_and_types_are_found_too_and_nothing_is_said_in_words(self):
        with self.page() as watched:
            for text, place in [("acme-mobile", "/projects/acme-mobile"), ("com.gigs.user.created", "/events?type=com.gigs.user.created")]:
                watched.open("/")
                watched.page.get_by_role("searchbox").fill(text)
                watched.page.keyboard.press("Enter")
                watched.page.wait_for_url(self.world.url + place)
            self.assertEqual(watched.open("/find?q=evt_nowhere.x"), 404)
            self.assertIn("journal has no event", watched.page.locator("main").inner_text())

    def test_filters_stay_in_their_form_and_pages_follow_each_other(self):
        with self.page() as watched:
            page = watched.page
            watched.open("/events")
            page.get_by_label("Project", exact=True).fill("dev")
            page.get_by_label("Outcome").select_option("dead")
            page.get_by_label("Time", exact=True).select_option("1h")
            page.get_by_role("button", name="Show").click()
            page.wait_for_url("**/events?*outcome=dead*")
            self.assertEqual(page.get_by_label("Project", exact=True).input_value(), "dev")
            self.assertEqual({text.strip("✕\n ") for text in page.locator("tbody .badge").all_inner_texts()}, {"dead"})
            # Of one project whose rows all differ: two bad events may share their id, their fault and their second.
            watched.open("/events?project=acme-mobile&limit=10")
            first = page.locator("tbody tr").all_inner_texts()
            page.get_by_role("link", name="Older events").click()
            page.wait_for_url("**cursor=*")
            second = page.locator("tbody tr").all_inner_texts()
            self.assertEqual(len(set(first)), 10)
            self.assertTrue(second)
            self.assertFalse(set(first) & set(second))

    def test_one_id_of_two_projects_has_a_page_for_each(self):
        with self.page() as watched:
            watched.open("/events/evt_shared")
            other = watched.page.locator(".note a").first
            name = other.inner_text()
            other.click()
            watched.page.wait_for_url(f"**project={name}")
            self.assertIn(f"project {name}", watched.page.locator(".above").inner_text())


class Living(Console):
    def test_the_overview_counts_without_a_reload(self):
        with self.page() as watched:
            watched.open("/")
            delivered = watched.page.locator("#counters dd").nth(4)
            before = int(re.sub(r"\D", "", delivered.inner_text()))
            self.world.one_more()
            until("the counter rises", lambda: int(re.sub(r"\D", "", delivered.inner_text())) > before)
            watched.page.get_by_role("button", name="Pause").click()
            self.assertEqual(watched.page.locator("#pulse").inner_text().split("\n")[0].split("Resume")[0].strip(), "paused")

    def test_the_words_of_a_timeline_are_copied(self):
        with self.page(permissions=["clipboard-read", "clipboard-write"]) as watched:
            watched.open("/events/evt_refused_0")
            watched.page.get_by_role("button", name="Copy").click()
            watched.page.get_by_role("button", name="Copied").wait_for()
            copied = watched.page.evaluate("() => navigator.clipboard.readText()")
            self.assertEqual(copied, watched.page.locator("#description").text_content())
            self.assertIn("Svix refuses it", copied)

    def test_everything_is_there_without_scripts(self):
        with self.page(java_script_enabled=False) as watched:
            watched.check = lambda: self.assertEqual(watched.wrongs, [])
            page = watched.page
            watched.open("/")
            self.assertIn("Is anything lost?", page.locator("main").inner_text())
            page.get_by_role("searchbox").fill("evt_well")
            page.get_by_role("button", name="Find").click()
            page.wait_for_url("**/events/evt_well")
            self.assertIn("upstream timed out", page.locator("#description").inner_text())
            self.assertEqual(page.locator("svg.swim-lanes svg.mark").count() > 5, True)
            page.get_by_role("link", name="Projects", exact=True).click()
            page.get_by_role("link", name="dev", exact=True).click()
            page.get_by_role("link", name="All events of this project").click()
            page.get_by_label("Outcome").select_option("dead")
            page.get_by_role("button", name="Show").click()
            self.assertIn("evt_refused_0", page.locator("main").inner_text())


class ForEverybody(Console):
    def test_the_keyboard_reaches_everything_and_shows_where_it_is(self):
        with self.page() as watched:
            page = watched.page
            watched.open("/")
            page.keyboard.press("Tab")
            skip = page.evaluate("() => document.activeElement.textContent")
            self.assertEqual(skip, "Skip to content")
            page.keyboard.press("Enter")
            self.assertEqual(page.evaluate("() => document.activeElement.id"), "content")
            page.keyboard.press("/")
            self.assertEqual(page.evaluate("() => document.activeElement.id"), "q")
            page.keyboard.type("evt_well")
            page.keyboard.press("Enter")
            page.wait_for_url("**/events/evt_well")
            reached = self.walk(page)
            for wanted in ("Overview", "Events", "Projects", "Parked", "Dead letters", "Changes", "acme-mobile", "Copy", "Find", "Pause"):
                self.assertIn(wanted, reached)

    def walk(self, page):
        """Tab through the page; what was reached, each with a visible outline."""
        reached, wanted = [], page.locator("a[href], button, input, select, [tabindex='0']").count()
        for _ in range(wanted + 2):
            page.keyboard.press("Tab")
            text, outline = page.evaluate(
                "() => [document.activeElement.textContent.trim(), getComputedStyle(document.activeElement).outlineStyle]"
            )
            if page.evaluate("() => document.activeElement !== document.body"):
                self.assertNotEqual(outline, "none", f"no focus is seen on {text!r}")
            reached.append(text)
        return reached

    def test_a_screen_of_360_pixels_needs_no_scrolling_aside_nor_does_a_larger_one(self):
        with self.page(has_touch=True) as watched:
            for path in self.pages():
                watched.open(path)
                for width in (360, 1000):
                    watched.page.set_viewport_size({"width": width, "height": 740})
                    wide = watched.page.evaluate("() => document.documentElement.scrollWidth")
                    self.assertLessEqual(wide, width, path)
                    self.assertEqual(watched.page.evaluate(CUT, width), [], f"{path} at {width}")

    def test_every_page_has_one_heading_labels_and_enough_contrast_in_light_and_dark(self):
        for scheme in ("light", "dark"):
            with self.page(color_scheme=scheme, reduced_motion="reduce") as watched:
                for path in self.pages():
                    watched.open(path)
                    self.assertEqual(watched.page.locator("h1").count(), 1, path)
                    self.assertEqual(watched.page.evaluate(UNLABELLED), [], path)
                    self.assertEqual(watched.page.evaluate(DOUBLE_IDS), [], path)
                    self.assertEqual(watched.page.evaluate(PALE), [], f"{path} in {scheme}")


class Safety(Console):
    def test_hostile_values_are_shown_and_do_not_run(self):
        with self.page() as watched:
            for path in self.pages():
                watched.open(path)
                self.assertEqual(watched.page.locator("main script, main img, main iframe, main [onerror]").count(), 0, path)
                self.assertEqual(watched.page.locator("a[href^='javascript:' i]").count(), 0, path)
            watched.open("/events/evt_hostile")
            shown = watched.page.locator("main").inner_text()
            for value in (SCRIPT, IMAGE, "javascript:window.hacked=1", "\\u{202e}"):
                self.assertIn(value, shown)
            watched.open("/events/evt_odd_key")
            self.assertIn(f"dev.{SCRIPT}", watched.page.locator("main").inner_text())
            watched.page.get_by_role("searchbox").fill(IMAGE + SCRIPT)
            watched.page.keyboard.press("Enter")
            watched.page.wait_for_url("**/find?q=*")
            self.assertIn(SCRIPT, watched.page.locator("main").inner_text())

    def test_the_policy_stops_a_script_that_got_into_a_page_all_the_same(self):
        watched = Watched(self.browser, self.world)
        try:
            watched.open("/")
            watched.page.evaluate(
                """() => { const s = document.createElement('script'); s.textContent = 'window.hacked = 1';
                    document.body.append(s); const i = document.createElement('img'); i.setAttribute('onerror', 'window.hacked = 1');
                    i.src = '/nothing'; document.body.append(i); }"""
            )
            watched.page.wait_for_timeout(300)
            self.assertIsNone(watched.page.evaluate("() => window.hacked ?? null"))
            self.assertTrue(any("policy: script-src" in wrong for wrong in watched.wrongs), watched.wrongs)
        finally:
            watched.close()

    def test_no_cookie_is_set_and_pages_are_not_framed(self):
        with self.page() as watched:
            for path in ("/", "/events/evt_well", "/dead"):
                watched.open(path)
            self.assertEqual(watched.context.cookies(), [])
        watched = Watched(self.browser, self.world)
        try:
            watched.page.set_content(f"<iframe src='{self.world.url}/'></iframe>")
            watched.page.wait_for_timeout(500)
            self.assertNotIn("Is anything lost?", "".join(frame.content() for frame in watched.page.frames))
        finally:
            watched.close()

    def test_with_tokens_a_browser_gets_in_by_name_and_token_alone(self):
        world = self.world
        self.assertEqual(ask(f"{world.locked}/")[0], 401)
        for pair, status in [("anna:second-token", 200), ("anna:wrong", 401), ("second-token:", 401)]:
            with self.page(http_credentials=dict(zip(("username", "password"), pair.split(":")))) as watched:
                answer = watched.page.goto(f"{world.locked}/")
                self.assertEqual(answer.status, status, pair)
                if status == 200:
                    # The script asks with what the browser knows.
                    with watched.page.expect_response("**/live") as live:
                        pass
                    self.assertEqual(live.value.status, 200)
        headers = {"authorization": "Basic " + base64.b64encode(b"anna:first-token").decode()}
        self.assertEqual(ask(f"{world.locked}/events", headers=headers)[0], 200)
        for path in ("/metrics", "/livez", "/readyz", "/status"):
            self.assertEqual(ask(world.locked + path)[0], 200, path)


# What reaches over the right edge.
CUT = """(width) => [...document.querySelectorAll('main *, header *')].filter(e => !e.closest('svg, .away, thead'))
    .filter(e => e.getBoundingClientRect().right > width + 1).map(e => e.outerHTML.slice(0, 90))"""

UNLABELLED = """() => [...document.querySelectorAll('input:not([type=hidden]), select, button, a')]
    .filter(e => !(e.labels?.length || e.textContent.trim() || e.getAttribute('aria-label'))).map(e => e.outerHTML)"""

DOUBLE_IDS = """() => { const ids = [...document.querySelectorAll('[id]')].map(e => e.id);
    return ids.filter((id, n) => ids.indexOf(id) !== n); }"""

# Text whose contrast with what it stands on is under 4.5 : 1 (WCAG 2.2, 1.4.3 AA).
PALE = """() => {
    const rgb = (text) => { const n = text.match(/[\\d.]+/g).map(Number); return n.length > 3 ? n : [...n, 1]; };
    const light = ([r, g, b]) => [r, g, b].map(c => c / 255).map(c => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
        .reduce((sum, c, n) => sum + c * [.2126, .7152, .0722][n], 0);
    const ground = (e) => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c[3] > 0) return c; }
        return [255, 255, 255, 1]; };
    const pale = [];
    for (const e of document.querySelectorAll('body *')) {
        const own = [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
        if (!own || e.closest('.away, thead, noscript, title, .skip') || !e.getClientRects().length) continue;
        const style = getComputedStyle(e);
        const [a, b] = [light(rgb(e instanceof SVGElement ? style.fill : style.color)), light(ground(e))];
        const contrast = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
        if (contrast < 4.5) pale.push(`${contrast.toFixed(2)} ${e.outerHTML.slice(0, 80)}`);
    }
    return pale;
}"""
