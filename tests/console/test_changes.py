"""Replaying and discarding in the console, and who may: each test has dead letters of its own, in the project `spare`."""

import base64
import json
import re

from browser import Watched
from test_pages import Console
from world import SCRIPT, SPARE_HOOK, ask, event, until

class Deciding(Console):
    def dead(self, name):
        _, _, text = ask(f"{self.world.url}/api/v1/dead?id={name}")
        return f'"id":"{name}"' in text

    def heeded_by_the_other_replica(self):
        """Waits for that: until it has read the record again, it delivers events of a project that has just been paused."""
        heeded = lambda: "\nhookbro_projects_paused 1\n" in ask(f"{self.world.locked}/metrics")[2]
        until("the other replica heeds the pause", heeded)

    def test_selected_events_are_replayed_and_reach_svix(self):
        with self.page() as watched:
            page = watched.page
            watched.open("/dead?project=spare")
            for name in ("evt_again_0", "evt_again_1"):
                box = page.get_by_label(f"Select {name}")
                box.focus()
                page.keyboard.press("Space")
            page.get_by_role("button", name="Replay…").focus()
            page.keyboard.press("Enter")
            page.get_by_role("heading", name="Replay 2 dead letters?").wait_for()
            self.assertEqual(self.world.delivered("evt_again_0"), 0)
            page.get_by_role("button", name="Replay 2 dead letters").click()
            page.wait_for_url(f"{self.world.url}/dead")
            self.assertIn("2 dead letters replayed", page.get_by_role("main").inner_text())
            for name in ("evt_again_0", "evt_again_1"):
                until(f"{name} is in Svix", lambda: self.world.delivered(name) == 1)
            self.assertEqual((self.world.delivered("evt_again_2"), self.dead("evt_again_2")), (0, True))
            watched.open("/audit")
            row = page.locator("tbody tr").filter(has_text="evt_again_0").inner_text()
            for part in ("dead.replay", "local", "done", "replayed 2 events"):
                self.assertIn(part, row)

    def test_a_discard_wants_its_word_and_works_without_scripts(self):
        with self.page(java_script_enabled=False) as watched:
            watched.check = lambda: self.assertEqual(watched.wrongs, [])
            page = watched.page
            watched.open("/dead?id=evt_gone_0")
            page.get_by_label("All 1 dead letter that match").check()
            page.get_by_role("button", name="Discard…").click()
            for typed, gone in (("disregard", False), ("discard", True)):
                page.get_by_label("Type discard to confirm").fill(typed)
                page.get_by_role("button", name="Discard 1 dead letter").click()
                self.assertEqual(page.get_by_role("alert").count(), 0 if gone else 1)
                self.assertEqual(self.dead("evt_gone_0"), not gone)
            self.assertIn("1 dead letter discarded, written to", page.get_by_role("main").inner_text())
            self.assertTrue(any("evt_gone_0" in file.read_text() for file in self.world.folder.rglob("*.ndjson")))

    def test_nothing_is_done_where_nothing_is_selected(self):
        with self.page() as watched:
            watched.open("/dead")
            watched.page.get_by_role("button", name="Replay…").click()
            watched.page.get_by_role("heading", name="Unprocessable Entity").wait_for()
            self.assertIn("Nothing is selected", watched.page.get_by_role("main").inner_text())

    def test_an_endpoint_is_tested_recovered_and_sent_one_event_again(self):
        with self.page() as watched:
            page, done = watched.page, watched.page.get_by_role("heading", name="Done")
            for button, says in [
                ("Send a test", "an example of svix.ping"),
                ("Deliver again", "what failed, as task"),
                # As the open-source server has it, so does the sandbox.
                ("Link to the customer portal", "no customer portal"),
            ]:
                watched.open("/projects/spare")
                page.get_by_role("link", name="Endpoints").click()
                self.assertIn(SPARE_HOOK, page.get_by_role("main").inner_text())
                page.get_by_role("button", name=button).click()
                done.wait_for()
                self.assertIn(says, page.get_by_role("main").inner_text())
            watched.open("/events/evt_resent")
            page.get_by_role("button", name=f"Deliver again to {SPARE_HOOK}").click()
            done.wait_for()
            page.get_by_role("link", name="Back to the event").click()
            page.wait_for_url("**/events/evt_resent?project=spare")
            watched.open("/audit?project=spare")
            shown = page.get_by_role("main").inner_text()
            for action in ("endpoint.test", "endpoint.recover", "portal.link", "event.resend"):
                self.assertIn(action, shown)
            self.assertNotIn("failed", page.locator("tbody").inner_text())

    def test_a_project_is_paused_and_resumed_and_its_events_wait_meanwhile(self):
        with self.page() as watched:
            page, main = watched.page, watched.page.get_by_role("main")
            watched.open("/projects/rested")
            self.assertNotIn("The project is paused", main.inner_text())
            page.get_by_label("Reason (optional)").fill(f"under repair {SCRIPT}")
            page.get_by_role("button", name="Pause this project").click()
            page.get_by_role("link", name="Back to the project").click()
            page.get_by_role("button", name="Resume this project").wait_for()
            shown = main.inner_text()
            for part in ("The project is paused since", "by local", f"under repair {SCRIPT}"):
                self.assertIn(part, shown)
            watched.open("/projects")
            row = page.locator("tbody tr").filter(has_text="rested")
            self.assertEqual(row.get_by_text("paused").count(), 1)
            self.assertEqual(page.locator("#paused li").count(), 1)
            self.heeded_by_the_other_replica()
            self.world.publish(json.dumps(event("evt_rested_1", "rested")))
            self.world.settled("evt_rested_1", "released")
            watched.open("/events/evt_rested_1")
            for part in ("Its project is paused", "The project is paused since", "Its events are parked"):
                self.assertIn(part, main.inner_text())
            watched.open("/")
            page.locator("#paused").get_by_role("link", name="rested").wait_for()
            counter = page.locator("#counters div").filter(has=page.get_by_text("parked", exact=True)).last
            # If the other replica has parked it: this one lists the queues of parked events once a minute.
            counter.get_by_text("1", exact=True).wait_for(timeout=90_000)
            self.assertEqual(self.world.delivered("evt_rested_1"), 0)
            watched.open("/events/evt_rested_1")
            page.get_by_role("link", name="Resume the project").click()
            page.get_by_role("button", name="Resume this project").click()
            page.get_by_role("heading", name="Done").wait_for()
            until("evt_rested_1 is in Svix", lambda: self.world.delivered("evt_rested_1") == 1)
            page.get_by_role("link", name="Back to the project").click()
            page.get_by_role("button", name="Pause this project").wait_for()
            watched.open("/audit?project=rested")
            for part in ("project.pause", "project.resume", "under repair"):
                self.assertIn(part, main.inner_text())

    def test_parked_events_are_released_and_given_up_after_a_question(self):
        parked = "evt_parked_1", "evt_parked_2", "evt_parked_3"
        with self.page() as watched:
            page, main = watched.page, watched.page.get_by_role("main")
            # It has no page before its first event.
            address = f"{self.world.url}/api/v1/projects/shelved/pause"
            self.assertEqual(ask(address, b"{}", {"content-type": "application/json"})[0], 200)
            self.heeded_by_the_other_replica()
            for name in parked:
                self.world.publish(json.dumps(event(name, "shelved")))
                self.world.settled(name, "released")
            watched.open("/parked")
            row = page.locator("tbody tr").filter(has_text="shelved")
            self.assertIn("3", row.inner_text())
            page.get_by_role("button", name="Give up events of shelved").click()
            page.get_by_role("heading", name="Give up parked events of shelved?").wait_for()
            page.get_by_label("How many").fill("1")
            page.get_by_role("button", name="Give up").click()
            page.get_by_role("heading", name="Done").wait_for()
            self.assertIn("1 event of shelved was given up", main.inner_text())
            until("the oldest is a dead letter", lambda: self.dead(parked[0]))
            watched.open(f"/dead?id={parked[0]}")
            self.assertIn("given up by an operator, local", main.inner_text())
            watched.open("/projects/shelved")
            page.get_by_role("button", name="Resume this project").click()
            page.get_by_role("heading", name="Done").wait_for()
            for name in parked[1:]:
                until(f"{name} is in Svix", lambda: self.world.delivered(name) == 1)
            self.assertEqual(self.world.delivered(parked[0]), 0)
            watched.open("/audit?project=shelved")
            self.assertIn("parked.give_up", main.inner_text())

    def test_a_pause_without_proof_or_from_elsewhere_changes_nothing(self):
        address, form = f"{self.world.url}/projects/rested/pause", {"content-type": "application/x-www-form-urlencoded"}
        self.assertEqual(ask(address, b"work=pause", {**form, "sec-fetch-site": "same-origin"})[0], 403)
        _, _, text = ask(f"{self.world.url}/projects/rested")
        proof = re.search(r'name="proof" value="([^"]+)"', text)[1]
        body = f"work=pause&proof={proof}".encode()
        self.assertEqual(ask(address, body, {**form, "sec-fetch-site": "cross-site"})[0], 403)
        self.assertNotIn('"rested"', ask(f"{self.world.url}/api/v1/paused")[2])

    def test_a_name_is_kept_beside_what_was_changed(self):
        with self.page(http_credentials={"username": "anna", "password": "first-token"}) as watched:
            page = watched.page
            page.goto(f"{self.world.locked}/dead?id=evt_gone_1")
            page.get_by_label("Select evt_gone_1").check()
            page.get_by_role("button", name="Replay…").click()
            page.get_by_role("button", name="Replay 1 dead letter").click()
            page.wait_for_url(f"{self.world.locked}/dead")
            page.goto(f"{self.world.locked}/audit")
            self.assertRegex(page.locator("tbody tr").first.inner_text(), r"anna \(token:[0-9a-f]{12}\)")


class Forging(Console):
    def proof(self):
        _, _, text = ask(f"{self.world.url}/dead")
        return re.search(r'name="proof" value="([^"]+)"', text)[1]

    def post(self, body, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        headers.setdefault("content-type", "application/x-www-form-urlencoded")
        return ask(f"{self.world.url}/dead", body.encode(), headers)[0]

    def test_a_form_without_proof_or_from_elsewhere_changes_nothing(self):
        form, proof = "work=replay&id=evt_again_2&confirm=yes", self.proof()
        same = {"sec_fetch_site": "same-origin"}
        self.assertEqual(self.post(form, **same), 403)
        self.assertEqual(self.post(f"{form}&proof=AAAA", **same), 403)
        self.assertEqual(self.post(f"{form}&proof={proof}"), 403)
        self.assertEqual(self.post(f"{form}&proof={proof}", sec_fetch_site="cross-site"), 403)
        self.assertEqual(self.post(f"{form}&proof={proof}", origin="http://evil.example"), 403)
        self.assertEqual(self.post(f"{form}&proof={proof}", content_type="text/plain", **same), 415)
        self.assertEqual(ask(f"{self.world.url}/dead?{form}&proof={proof}")[0], 200, "reading changes nothing")
        self.assertEqual(self.world.delivered("evt_again_2"), 0)
        basic = {"authorization": "Basic " + base64.b64encode(b"anna:first-token").decode()}
        status, _, _ = ask(f"{self.world.locked}/dead", form.encode(), {**basic, "sec-fetch-site": "same-origin",
                           "content-type": "application/x-www-form-urlencoded"})  # fmt: skip
        self.assertEqual(status, 403, "a token is no proof")

    def test_another_site_s_page_cannot_post_in_the_name_of_who_is_logged_in(self):
        watched = Watched(self.browser, self.world, http_credentials={"username": "anna", "password": "first-token"})
        try:
            page = watched.page
            page.goto(f"{self.world.locked}/dead")
            # As bad as it gets: another site that got hold of a proof.
            proof = page.locator("form.select input[name=proof]").get_attribute("value")
            page.goto("data:text/html,")
            page.set_content(
                f"""<form method=post action="{self.world.locked}/dead"><input name=work value=replay>
                <input name=id value=evt_again_2><input name=confirm value=yes><input name=proof value="{proof}"><button>x</button></form>"""
            )
            page.get_by_role("button").click()
            page.get_by_role("heading", name="Not allowed").wait_for()
            self.assertEqual(self.world.delivered("evt_again_2"), 0)
        finally:
            watched.close()
