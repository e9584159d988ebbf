"""The drawing of the loop holds no markup from outside."""

import xml.etree.ElementTree as ET

from dashboard import charts, circle
from dashboard.standing import Station


def test_the_circle_is_well_formed_and_escapes_every_text() -> None:
    hostile = "<script>x</script>"
    station = Station(noun="Traffic", id=hostile, title=hostile, status="rejected")
    drawing = circle.draw([station] * 7, "red", hostile)
    root = ET.fromstring(drawing)
    assert "<script" not in drawing
    assert len([e for e in root.iter() if e.tag.endswith("title")]) == 7
    assert charts.COLORS["red"] in drawing
