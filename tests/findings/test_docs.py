"""The page on findings names every detector there is."""

from pathlib import Path

from tod.findings.detector import detectors

PAGE = (Path(__file__).parents[2] / "docs/findings.md").read_text()


def test_every_detector_stands_in_the_table():
    missing = [d.kind for d in detectors() if f"| `{d.kind}` |" not in PAGE]
    assert not missing
