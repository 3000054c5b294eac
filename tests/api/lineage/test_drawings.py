"""DOT, SVG, HTML and JSON: everything is in them, nothing lies on another thing, and no name is more than text."""

import base64
import hashlib
import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from artfs.api.lineage import render_dot, render_html, render_svg, to_json, trace
from artfs.api.lineage.layout import draw, shapes_of
from tests.api.lineage.conftest import NASTY

SVG = "{http://www.w3.org/2000/svg}"


def joined(lines):
    return "\n".join(lines)


def nasty(lineage, name):
    """Let everything that a registry may say be a nasty text."""
    for key, node in lineage.nodes.items():
        if key.startswith("run:"):
            lineage.nodes[key] = replace(node, id=name, name=name, job_type=name, project=name)
        else:
            collection = replace(node.collection, entity=name, project=name, collection=name)
            lineage.nodes[key] = replace(
                node, collection=collection, source=collection, aliases=(name,), type=name, description=name
            )
    return lineage


def dot_strings(line):
    return re.findall(r'"(?:[^"\\]|\\.)*"', line)


@pytest.fixture
def lineage(diamond):
    diamond.run("again", ["whole"], ["next"])
    return trace(diamond, diamond.version("whole"))


# SVG -----------------------------------------------------------------------------------------------------------------


def test_versions_are_boxes_runs_are_ellipses_and_edges_are_arrows(lineage):
    root = ET.fromstring(joined(render_svg(lineage)))
    assert len(root.findall(f"{SVG}g/{SVG}rect")) == 5
    assert len(root.findall(f"{SVG}g/{SVG}ellipse")) == 3
    paths = root.findall(f"{SVG}path")
    assert len(paths) == len(lineage.edges) == 8
    assert all(path.get("marker-end") == "url(#arrow)" for path in paths)
    (heavy,) = [shape for shape in root.iter() if "root" in shape.get("class", "").split()]
    assert heavy.tag == f"{SVG}rect"
    assert "prefers-color-scheme: dark" in root.find(f"{SVG}style").text


def test_tooltips_say_all(lineage):
    root = ET.fromstring(joined(render_svg(lineage)))
    tooltips = [title.text for title in root.findall(f"{SVG}g/{SVG}title")]
    assert any(
        text.startswith("team/proj/raw:v0 (latest)  dataset  1.5 MB\n1 file, 1,500,000 bytes, made ")
        for text in tooltips
    )
    assert any(text.startswith('run me/demo/join "run join" train running\nstarted 2024-01-01') for text in tooltips)


def test_a_cut_is_drawn(diamond):
    text = joined(render_svg(trace(diamond, diamond.version("whole"), depth=1)))
    assert "… 2 more (--depth)" in text
    assert 'class="line dashed"' in text


@pytest.mark.parametrize("name", NASTY)
def test_no_name_is_more_than_text_in_an_svg(lineage, name):
    root = ET.fromstring(joined(render_svg(nasty(lineage, name))).encode())
    tags = {element.tag.removeprefix(SVG) for element in root.iter()}
    assert tags == {"svg", "title", "style", "defs", "marker", "path", "rect", "g", "ellipse", "text"}
    text = "".join(root.itertext())
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u2028-\u202e\u2066-\u2069\ufeff]", text)
    for element in root.iter():
        assert set(element.attrib) <= {
            "viewBox", "width", "height", "role", "id", "refX", "refY", "markerWidth", "markerHeight", "orient",
            "markerUnits", "class", "d", "x", "y", "rx", "ry", "cx", "cy", "marker-end",
        }  # fmt: skip


# Layout --------------------------------------------------------------------------------------------------------------


def overlap(one, other):
    (a, ax, ay), (b, bx, by) = one, other
    return abs(ax - bx) < (a.width + b.width) / 2 and abs(ay - by) < (a.height + b.height) / 2


def big(world):
    """Three chains, a diamond, a circle and many uses."""
    ends = []
    for number in range(3):
        for step in range(3):
            world.run(f"r{number}-{step}", [f"d{number}-{step}"], [f"d{number}-{step + 1}"])
        ends.append(f"d{number}-3")
    world.run("split", ["d0-3"], ["left", "right"])
    world.run("train", [*ends, "left", "right"], ["model"])
    for number in range(6):
        world.run(f"eval{number}", ["model"], [f"report{number}"])
    world.run("quantize", ["model", "report0"], ["small"])
    world.run("train", ["small"], [])
    return trace(world, world.version("model"))


def test_no_shape_lies_on_another_and_all_are_on_the_paper(world):
    lineage = big(world)
    drawing = draw(*shapes_of(lineage))
    assert len(drawing.shapes) == len(lineage.nodes) > 30
    for index, one in enumerate(drawing.shapes):
        shape, x, y = one
        assert shape.width / 2 < x < drawing.width - shape.width / 2
        assert shape.height / 2 < y < drawing.height - shape.height / 2
        assert not any(overlap(one, other) for other in drawing.shapes[index + 1 :])


def test_lines_lead_from_edge_to_edge_and_to_the_right_but_for_one_that_closes_a_circle(world):
    shapes, edges = shapes_of(big(world))
    drawing = draw(shapes, edges)
    back = 0
    for (a, b), line in zip(edges, drawing.lines, strict=True):
        (x1, *_), (*_, x2, _) = line.pieces[0], line.pieces[-1]
        (start, sx, _), (end, ex, _) = drawing.shapes[a], drawing.shapes[b]
        side = 1 if sx < ex else -1
        back += side < 0
        assert abs(x1 - (sx + side * start.width / 2)) < 0.01
        assert abs(x2 - (ex - side * end.width / 2)) < 0.01
    assert back == 1


def test_no_line_crosses_a_shape(world):
    drawing = draw(*shapes_of(big(world)))
    for line in drawing.lines:
        for x1, y1, x2, y2 in line.pieces[1:-1]:
            for shape, x, y in drawing.shapes:
                beside = max(x1, x2) < x - shape.width / 2 or min(x1, x2) > x + shape.width / 2
                assert beside or abs(y1 - y) > shape.height / 2 or y1 != y2


def test_a_chain_is_a_straight_line(world):
    for step in range(5):
        world.run(f"r{step}", [f"d{step}"], [f"d{step + 1}"])
    drawing = draw(*shapes_of(trace(world, world.version("d2"))))
    assert len({round(y, 3) for _, _, y in drawing.shapes}) == 1
    assert sorted(x for _, x, _ in drawing.shapes) == [
        x for _, x, _ in sorted(drawing.shapes, key=lambda item: item[1])
    ]


def test_a_planar_graph_is_drawn_without_crossings(world):
    for number in (3, 1, 2, 0):
        world.run(f"r{number}", [f"a{number}"], [f"b{number}"])
    world.run("join", [f"b{number}" for number in (1, 3, 0, 2)], ["end"])
    shapes, edges = shapes_of(trace(world, world.version("end")))
    drawing = draw(shapes, edges)
    order = {}
    for shape, x, y in drawing.shapes:
        order.setdefault(round(x), []).append((y, shape.lines[0]))
    columns = [
        [name[-1] if name[0] == "r" else name[1] for _, name in sorted(column)]
        for column in order.values()
        if len(column) == 4
    ]
    assert len(columns) == 3
    assert columns[0] == columns[1] == columns[2]


def test_the_same_graph_is_drawn_the_same(diamond):
    lines = [joined(render_svg(trace(diamond, diamond.version("whole")))) for _ in range(2)]
    assert lines[0] == lines[1]


# HTML ----------------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.scripts, self.in_script = [], [], [], False
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.in_script = tag == "script"
        self.attributes += attrs

    def handle_endtag(self, tag):
        if tag == "script":
            self.in_script = False

    def handle_data(self, data):
        if self.in_script:
            self.scripts.append(data)


@pytest.mark.parametrize("name", ["plain", *NASTY])
def test_a_page_has_one_script_that_its_policy_allows_and_no_address(lineage, name):
    text = joined(render_html(nasty(lineage, name)))
    text.encode()
    page = Page(text)
    assert page.tags.count("script") == 1
    (policy,) = [value for key, value in page.attributes if key == "content" and "default-src" in value]
    digest = base64.b64encode(hashlib.sha256("".join(page.scripts).encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none';")
    assert not {key for key, _ in page.attributes} & {"src", "href", "xlink:href", "onload", "onerror", "action"}
    assert set(re.findall(r"https?://[^\"' <]*", text)) == {"http://www.w3.org/2000/svg"}
    assert page.tags.count("svg") == 1


# DOT and JSON --------------------------------------------------------------------------------------------------------


def test_dot_names_every_node_and_edge(lineage):
    lines = list(render_dot(lineage))
    assert (lines[0], lines[-1]) == ("digraph lineage {", "}")
    assert sum(" -> " in line for line in lines) == 8
    assert sum("shape=box" in line for line in lines) == 5
    assert sum("shape=ellipse" in line for line in lines) == 3
    assert sum("penwidth" in line for line in lines) == 1


@pytest.mark.parametrize("name", NASTY)
def test_no_name_ends_a_string_of_dot(lineage, name):
    plain, found = list(render_dot(lineage)), list(render_dot(nasty(lineage, name)))
    assert len(plain) == len(found)
    for before, after in zip(plain, found, strict=True):
        assert re.sub(r'"(?:[^"\\]|\\.)*"', "S", after) == re.sub(r'"(?:[^"\\]|\\.)*"', "S", before)
        for string in dot_strings(after):
            assert set(re.findall(r"\\(.)", string)) <= {"n", '"', "\\"}
            assert re.findall("&(?!amp;)", string) == []


def test_json_has_nodes_edges_and_cuts(diamond):
    found = json.loads(json.dumps(to_json(trace(diamond, diamond.version("whole"), depth=1))))
    whole, join = found["nodes"]
    assert found["root"] == whole["key"] == f"version:{whole['id']}"
    assert (whole["kind"], whole["name"], whole["size"], whole["aliases"]) == (
        "version",
        "team/proj/whole:v0",
        3,
        ["latest"],
    )
    assert (join["kind"], join["path"], join["state"], join["finished_at"]) == ("run", "me/demo/join", "running", None)
    assert found["edges"] == [{"from": "run:me/demo/join", "to": whole["key"], "kind": "logged"}]
    assert found["cut"] == [{"at": "run:me/demo/join", "direction": "up", "reason": "depth", "count": 2}]
    found = to_json(trace(diamond, diamond.version("whole")))
    assert [edge["kind"] for edge in found["edges"]].count("used") == 3
    assert found["cut"] == []
