"""Rules on the pages of an atlas: the panel of a feature, the page of all, and what is read beside an atlas."""

import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest
from browsing import expect, fits, serving
from fastapi.testclient import TestClient
from faults import serious

from physalis import Atlas
from physalis.errors import BadInput
from physalis.explanations import Explanations, explain
from physalis.web import create_app
from physalis.web.atlas.rules import ENOUGH, RuleQuestion, ServedRules
from physalis.web.contents.opening import open_app

EXPLAINED = range(0, 64, 2)


@pytest.fixture(scope="module")
def folder(tiny, tiny_activations, tiny_dictionary, tiny_atlas, tmp_path_factory):
    """An atlas, and beside it the rules of every other feature."""
    folder = tmp_path_factory.mktemp("ruled")
    shutil.copytree(tiny_atlas.folder, folder / "atlas")
    explain(tiny_dictionary, tiny_activations, tiny, folder / "explanations", features=EXPLAINED)
    return folder


@pytest.fixture(scope="module")
def rules(folder):
    found = ServedRules.beside(Atlas.open(folder / "atlas"))
    assert found is not None
    return found


@pytest.fixture(scope="module")
def client(folder):
    return TestClient(open_app(folder / "atlas"), base_url="http://localhost")


def test_they_are_found_beside_an_atlas(folder, rules, client):
    assert [each.feature for each in rules.found] == [*EXPLAINED]
    assert client.get("/api/rules").json()["total"] == len(EXPLAINED)
    assert '"ruled":true' in client.get("/").text


def test_an_atlas_without_any_has_no_page_of_them(tiny_atlas):
    assert ServedRules.beside(tiny_atlas) is None
    client = TestClient(create_app(tiny_atlas), base_url="http://localhost")
    assert client.get("/api/rules").status_code == 404 and "ruled" not in client.get("/").text


def test_damaged_ones_and_those_of_others_are_passed_over(folder, tmp_path):
    shutil.copytree(folder / "atlas", tmp_path / "atlas")
    shutil.copytree(folder / "explanations", tmp_path / "damaged")
    with (tmp_path / "damaged" / "rules.jsonl").open("a") as file:
        file.write("{}\n")
    assert ServedRules.beside(Atlas.open(tmp_path / "atlas")) is None
    shutil.copytree(folder / "explanations", tmp_path / "other")
    manifest = tmp_path / "other" / "manifest.json"
    manifest.write_text(re.sub(r'("dictionary": ")[0-9a-f]{64}', r"\g<1>" + "0" * 64, manifest.read_text()))
    atlas = Atlas.open(tmp_path / "atlas")
    assert ServedRules.beside(atlas) is None
    with pytest.raises(BadInput, match="another dictionary"):
        ServedRules(Explanations.open(tmp_path / "other"), atlas)


def test_an_atlas_in_a_folder_that_may_not_be_listed_is_shown(folder, monkeypatch):
    def refused(path):
        raise PermissionError(13, "Permission denied", str(path))

    atlas = Atlas.open(folder / "atlas")
    monkeypatch.setattr(Path, "iterdir", refused)
    assert ServedRules.beside(atlas) is None


def forged(folder, out, change):
    """Explanations as a stranger may have changed them: whole, by their hashes."""
    shutil.copytree(folder / "explanations", out)
    lines = [json.loads(line) for line in (out / "rules.jsonl").read_text().splitlines()]
    change(lines[0])
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    (out / "rules.jsonl").write_text(text)
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["files"]["rules.jsonl"] = hashlib.sha256(text.encode()).hexdigest()
    (out / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize("rule", ["no rule (((", " or ".join(['"a" = 1'] * 5_000)])
def test_a_rule_that_nobody_can_read_spoils_no_page(folder, tmp_path, rule):
    shutil.copytree(folder / "atlas", tmp_path / "atlas")
    forged(folder, tmp_path / "forged", lambda line: line.update(rule=rule))
    client = TestClient(open_app(tmp_path / "atlas"), base_url="http://localhost")
    assert client.get("/features/0").status_code == 200 and client.get("/api/rules/0").json() is None
    assert client.get("/api/rules/2").json()["feature"] == 2


def test_rules_of_features_that_are_not_there_are_not_shown(folder, tmp_path, capsys):
    shutil.copytree(folder / "atlas", tmp_path / "atlas")
    forged(folder, tmp_path / "forged", lambda line: line.update(feature=99_999))
    client = TestClient(open_app(tmp_path / "atlas"), base_url="http://localhost")
    assert client.get("/features/0").status_code == 200 and client.get("/api/rules").status_code == 404
    assert "rules in forged are not shown" in capsys.readouterr().err


def test_a_rule_is_told_as_it_is_kept(rules, client):
    for each in rules.found:
        told = client.get(f"/api/rules/{each.feature}").json()
        said = " or ".join(f"{' and '.join(c['leaves'])} = {c['level']:.3g}" for c in told["clauses"]) or "never"
        assert said == each.rule and told["in_words"] == each.program.in_words()
        assert told["f1"] == each.detection.f1.model_dump() and told["f1_token"] == each.token.f1.value
        assert told["mean_f1"] == rules.found.mean.f1.value
    assert client.get("/api/rules/1").json() is None
    assert '"rule":null' in client.get("/features/1").text and '"rule":{' in client.get("/features/2").text


def test_where_its_parts_hold_is_told_of_every_example(folder, rules, client):
    atlas, lit = Atlas.open(folder / "atlas"), 0
    for each in rules.found:
        told = client.get(f"/api/rules/{each.feature}/holds").json()
        groups = atlas[each.feature].groups
        assert [len(clause["leaves"]) for clause in told["clauses"]] == [len(c.leaves) for c in each.program.clauses]
        for clause in told["clauses"]:
            for where in (clause["decides"], *clause["leaves"]):
                for part in where.values():
                    assert [len(group) for group in part] == [len(group.examples) for group in groups]
                    for at, example in zip(sum(part, []), sum((group.examples for group in groups), []), strict=True):
                        assert at == sorted(set(at)) and set(at) <= set(range(len(example.tokens)))
            here, first = clause["decides"]["surely"], clause["leaves"][0]
            assert all(
                set(a) <= {*s, *p}
                for a, s, p in zip(sum(here, []), sum(first["surely"], []), sum(first["perhaps"], []), strict=True)
            )
            lit += sum(len(at) for group in here for at in group)
    assert lit
    assert client.get("/api/rules/1/holds").status_code == 404


def test_a_rule_lights_the_tokens_that_it_names(folder, rules, client):
    atlas, named = Atlas.open(folder / "atlas"), 0
    for each in rules.found:
        for clause, told in zip(
            each.program.clauses, client.get(f"/api/rules/{each.feature}/holds").json()["clauses"], strict=True
        ):
            for leaf, where in zip(clause.leaves, told["leaves"], strict=True):
                if leaf.kind == "symbol" and not leaf.negated:
                    for g, group in enumerate(atlas[each.feature].groups):
                        for e, example in enumerate(group.examples):
                            so = [i + leaf.back for i, token in enumerate(example.tokens) if token == leaf.value]
                            assert where["surely"][g][e] == [i for i in so if i < len(example.tokens)]
                            named += len(so)
    assert named


def test_rules_of_before_the_vocabulary_was_kept_are_lit_as_far_as_the_atlas_knows_it(folder, rules, tmp_path):
    shutil.copytree(folder / "atlas", tmp_path / "atlas")
    shutil.copytree(folder / "explanations", tmp_path / "old")
    manifest = json.loads((tmp_path / "old" / "manifest.json").read_text())
    del manifest["files"]["vocabulary.json"]
    (tmp_path / "old" / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "old" / "vocabulary.json").unlink()
    old = ServedRules.beside(Atlas.open(tmp_path / "atlas"))
    assert old is not None and old.found.vocabulary is None
    for each in rules.found:
        assert old.holds(each.feature) == rules.holds(each.feature)


@pytest.mark.parametrize("sort", ["f1", "f1_strong", "gain", "size", "feature"])
def test_they_are_sorted_both_ways(rules, sort):
    key = {"gain": lambda row: row.f1 - row.f1_token, "feature": lambda row: row.id}.get(
        sort, lambda r: getattr(r, sort)
    )
    for descending in (True, False):
        rows = rules.list(RuleQuestion(sort=sort, descending=descending)).rows
        judged = [key(row) for row in rows if row.n_held_out >= ENOUGH or sort in ("size", "feature")]
        assert judged == sorted(judged, reverse=descending) and len(rows) == len(EXPLAINED)
        if sort == "f1":
            few = [row.n_held_out < ENOUGH for row in rows]
            assert few == sorted(few)  # one of two hits says little, and does not come first


def test_they_are_searched_and_paged(rules, client):
    every = rules.list(RuleQuestion()).rows
    word = re.search(r'[a-z]+(?= ")', every[0].rule)[0]
    found = rules.list(RuleQuestion(query=word.upper()))
    assert {row.id for row in found.rows} == {
        row.id for row in every if word in f"{row.rule} {row.headline}".casefold()
    }
    assert rules.list(RuleQuestion(query="no such words")).total == 0
    two = rules.list(RuleQuestion(offset=2, limit=2))
    assert two.rows == every[2:4] and two.total == len(every)
    assert sum(two.spread.counts) == sum(row.n_held_out > 0 for row in every)
    for wrong in ("sort=nothing", "offset=-1", "limit=9999", "colour=red"):
        assert client.get(f"/api/rules?{wrong}").status_code == 422


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(1200, "light"), (1200, "dark"), (390, "light"), (390, "dark")])
def test_rules_are_read(browse, folder, rules, width, scheme):
    best = rules.list(RuleQuestion()).rows[0]
    with serving(open_app(folder / "atlas")) as site:
        page = browse(site, "/rules", width, scheme)
        expect(page.get_by_role("status")).to_contain_text(f"{len(EXPLAINED)} rules")
        assert fits(page, width) and serious(page) == []
        page.get_by_role("searchbox", name="Search rules").fill("no such words")
        expect(page.get_by_text("No rule matches")).to_be_visible()
        page.get_by_role("searchbox", name="Search rules").fill("")
        page.locator("main ol > li a").first.click()
        expect(page).to_have_url(f"{site}/features/{best.id}")
        panel = page.get_by_role("figure", name="Rule", exact=True)
        expect(panel).to_contain_text(f"{best.f1:.3f}".lstrip("0"))
        assert fits(page, width) and serious(page) == []
        page.keyboard.press("j")  # the next has none
        expect(page).to_have_url(f"{site}/features/{best.id + 1}")
        expect(panel).to_have_count(0)


@pytest.mark.browser
def test_parts_light_up_in_the_examples(browse, folder, rules):
    best = rules.list(RuleQuestion()).rows[0]
    surely = rules.holds(best.id).clauses[0].leaves[0].surely
    first = next((g, e, at[0]) for g, group in enumerate(surely) for e, at in enumerate(group[:5]) if at)
    with serving(open_app(folder / "atlas")) as site:
        page = browse(site, f"/features/{best.id}", 1200, "light")
        panel = page.get_by_role("figure", name="Rule", exact=True)
        examples = page.get_by_role("figure", name="Activating examples")
        lit, leaf = examples.locator(".lit"), panel.get_by_role("listitem").first.get_by_role("button").nth(1)
        expect(lit).to_have_count(0)
        leaf.hover()
        named = examples.locator(f'[data-example="{first[0]}/{first[1]}"] [data-at="{first[2]}"]')
        expect(named).to_have_class(re.compile(r"\blit\b"))
        expect(panel.get_by_role("status")).to_contain_text(f"Holds on {sum(len(a) for g in surely for a in g)} token")
        page.mouse.move(0, 0)
        expect(lit).to_have_count(0)
        leaf.focus()  # by keys as well
        expect(named).to_have_class(re.compile(r"\blit\b"))
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        leaf.blur()
        expect(leaf).to_have_attribute("aria-pressed", "true")
        assert serious(page) == []
