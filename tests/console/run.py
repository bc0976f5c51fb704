"""Runs the tests, or with --screenshots draws docs/console-*.png: run.py PROGRAM BROKER_URL [--screenshots FOLDER]"""

import pathlib
import signal
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from browser import Watched, chromium  # noqa: E402
from world import World  # noqa: E402

# Pictures for docs/console.md and the README: name, path, width, height, colours.
PICTURES = [
    ("overview", "/", 1100, 900, "light"),
    ("timeline", "/events/evt_well", 1100, 900, "dark"),
    ("dead", "/dead", 1100, 620, "light"),
    ("phone", "/events/evt_sick", 360, 760, "light"),
]


def main():
    program, broker, *rest = sys.argv[1:]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="hookbro-console.") as folder:
        world = World(program, broker, folder)
        try:
            world.fill(hostile=not rest)
            with chromium() as browser:
                return draw(world, browser, pathlib.Path(rest[1])) if rest else test(world, browser)
        except BaseException:
            for log in pathlib.Path(folder).glob("*.log"):
                print(f"-- {log.name}", *log.read_text().splitlines()[-15:], sep="\n", file=sys.stderr)
            raise
        finally:
            world.end()


def test(world, browser):
    import test_changes
    import test_pages

    world.start_locked()
    test_pages.Console.world, test_pages.Console.browser = world, browser
    load = unittest.defaultTestLoader.loadTestsFromModule
    suite = unittest.TestSuite([load(test_pages), load(test_changes)])
    return 0 if unittest.TextTestRunner(verbosity=2).run(suite).wasSuccessful() else 1


def draw(world, browser, folder):
    for name, path, width, height, scheme in PICTURES:
        watched = Watched(browser, world, viewport={"width": width, "height": height}, color_scheme=scheme)
        watched.open(path)
        # The depths of the queues are asked for every 5 s.
        watched.page.wait_for_timeout(6_000 if path == "/" else 500)
        watched.page.screenshot(path=folder / f"console-{name}.png")
        watched.close()
    return 0


sys.exit(main())
