"""Pages of a whole atlas that show one record each: what they tell, and how they look."""

import numpy as np
import pytest
from browsing import expect, fits, serving
from fastapi.testclient import TestClient

from physalis.web import create_app
from physalis.web.atlas.overviews import MIDDLE, OVERVIEWS, regions
from physalis.web.server.shell import STATIC


def test_regions_are_those_of_the_map(tiny_atlas):
    map, found = tiny_atlas.map(), regions(tiny_atlas).regions
    sizes = [each.n_features for each in found]
    assert sizes == sorted(sizes, reverse=True) and sum(sizes) == len(map.ids)
    assert {each.name for each in found} <= set(map.regions)
    for each in found:
        assert len(each.middle) == min(MIDDLE, each.n_features)
        [region] = {row.region for row in each.middle}
        assert map.regions[region] == each.name
        inside = np.array(map.region) == region
        away = np.hypot(*(np.array([map.x, map.y])[:, inside] - np.array([map.x, map.y])[:, inside].mean(1)[:, None]))
        ids = np.array(map.ids)[inside]
        assert {row.id for row in each.middle} == set(ids[np.argsort(away, kind="stable")[: len(each.middle)]].tolist())


@pytest.mark.parametrize("overview", OVERVIEWS, ids=lambda each: each.title)
def test_each_has_a_page_a_record_and_a_view(tiny_atlas, overview):
    client = TestClient(create_app(tiny_atlas), base_url="http://localhost")
    record = client.get(f"/api{overview.path}")
    assert record.json() == client.get(f"{overview.path}.json").json() == overview.make(tiny_atlas).model_dump()
    assert f"<title>{overview.title} – physalis" in client.get(overview.path).text
    assert f"/api{overview.path}" in client.get("/api/openapi.json").json()["paths"]
    built = "".join(path.read_text() for path in STATIC.rglob("*.js"))
    assert overview.path in built


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (390, "dark")])
def test_the_regions_are_read(chromium, tiny_atlas, width, scheme):
    page = chromium.new_page(viewport={"width": width, "height": 800}, color_scheme=scheme)
    found = regions(tiny_atlas).regions
    with serving(create_app(tiny_atlas)) as site:
        page.goto(f"{site}/")
        page.get_by_role("link", name="Regions", exact=True).click()
        expect(page.get_by_role("heading", level=2)).to_have_count(len(found))
        expect(page.get_by_role("heading", level=2).first).to_contain_text(f"{found[0].n_features}")
        assert page.url == f"{site}/regions" and page.title() == "Regions – physalis" and fits(page, width)
        page.reload()
        first = found[0].middle[0]
        page.get_by_role("listitem").filter(has_text=f"#{first.id}, on").get_by_role("link").first.click()
        expect(page).to_have_url(f"{site}/features/{first.id}")
    page.close()
