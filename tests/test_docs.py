"""What the documents say is what the commands do."""

import importlib
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import xarray as xr

from dpdm_cli.main import main
from tests.helpers.small_world import done

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
REFERENCE = runpy.run_path(str(ROOT / "docs" / "reference.py"))
BY_CI = ("make demo", "make test")  # .ci/run calls the second, which runs this


def shell(page: str) -> list[str]:
    """Return the commands that a page shows, a line each."""
    text = (ROOT / page).read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    lines = [n for block in blocks for n in block.replace("\\\n", " ").strip().splitlines()]
    return [line for line in lines if line not in BY_CI]


@pytest.mark.parametrize("page", REFERENCE["PAGES"])
def test_reference_pages_agree_with_the_code(page: str) -> None:
    made = REFERENCE["PAGES"][page]()
    assert (ROOT / "docs" / page).read_text(encoding="utf-8") == made, "run docs/reference.py"


def test_every_option_named_in_the_documents_exists() -> None:
    known = {o for c in main.commands.values() for p in c.params for o in p.opts}
    foreign = {"--no-python", "--nproc-per-node", "--help", "--version"}
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", page.read_text(encoding="utf-8")))
        assert named <= known | foreign | {"--region", "--inflation"}, page  # of benchmarks


def test_every_command_is_in_the_readme() -> None:
    for name in main.commands:
        assert f"dpdm {name}" in README, name


SITE = runpy.run_path(str(ROOT / "docs" / "conf.py"))


def test_the_site_has_every_page_once() -> None:
    listed = [page for group in SITE["NAVIGATION"].values() for page in group]
    pages = [f"docs/{page.stem}" for page in (ROOT / "docs").glob("*.md")]
    more = ["CHANGELOG", "CONTRIBUTING", "benchmarks/README"]
    assert sorted(listed) == sorted(pages + more)


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and MyST make them."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", ["README", *sum(SITE["NAVIGATION"].values(), ())])
def test_links_lead_somewhere(page: str) -> None:
    path = ROOT / f"{page}.md"
    for link in re.findall(r"\]\(([^)]+)\)", path.read_text(encoding="utf-8")):
        if not link.startswith("http"):
            name, hash_, anchor = link.partition("#")
            target = path.parent / name if name else path
            assert target.exists(), link
            assert not hash_ or anchor in anchors(target), link


def test_the_site_opens_without_a_network(tmp_path: Path) -> None:
    pytest.importorskip("sphinx")
    words = [
        sys.executable,
        "-m",
        "sphinx",
        "-q",
        "-W",
        "--keep-going",
        "-c",
        "docs",
        ".",
        tmp_path,
    ]
    built = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert not built.returncode, built.stderr
    text = "\n".join(page.read_text(encoding="utf-8") for page in tmp_path.rglob("*.html"))
    assert not re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=\"(?:https?:)?//[^>]*", text)
    formulae = re.findall(r"<math.*?</math>", text, re.DOTALL)
    assert len(formulae) > 50
    assert not any("\\" in re.sub(r"<annotation.*?</annotation>", "", one) for one in formulae)
    assert (tmp_path / "index.html").read_bytes() == (tmp_path / "README.html").read_bytes()


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FOLDERS = ("dpdm", "cli", "docs", "tests", "benchmarks", "sample_data")


def code_spans(page: Path) -> list[str]:
    """Return the code in the running text of a page, without its blocks."""
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.findall(r"`([^`\n]+)`", text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_path_in_the_documents_exists(page: Path) -> None:
    for word in " ".join(code_spans(page)).split():
        folder, slash, _ = word.partition("/")
        inside = slash and folder in FOLDERS and re.fullmatch(r"[\w./-]*", word)
        if inside or re.fullmatch(r"[\w./-]+\.py", word):
            assert (ROOT / word).exists(), f"{page.name}: {word}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_module_and_name_in_the_documents_exists(page: Path) -> None:
    groups = {"dpdm.plugins", "dpdm.operators"}  # of entry points
    for text in code_spans(page):
        if re.fullmatch(r"dpdm(\.\w+)+", text) and text not in groups:
            assert exists(text), f"{page.name}: {text}"


def exists(name: str) -> bool:
    """Return whether a dotted name is a module, or an attribute of one."""
    parent, _, last = name.rpartition(".")
    try:
        importlib.import_module(name)
    except ModuleNotFoundError:
        return hasattr(importlib.import_module(parent), last)
    return True


def test_every_identifier_in_the_architecture_is_in_the_code() -> None:
    sources = [*(ROOT / "dpdm").rglob("*.py"), ROOT / "pyproject.toml"]
    words = set(re.findall(r"\w+", "\n".join(p.read_text(encoding="utf-8") for p in sources)))
    for text in code_spans(ROOT / "docs" / "architecture.md"):
        for name in re.findall(r"^[A-Za-z_]\w*(?=$|\.\w+$)", text):
            assert name in words, text


WRITTEN = {
    "README.md": (
        "analysis.nc coarse.nc fine.html fine.nc january.png mean.nc mine.jsonl mine.nc "
        "mine.safetensors sample_data seen.nc series smooth.nc stations.csv stations_t2m.csv "
        "t2m.tif truth.nc"
    ),
    "docs/guide.md": (
        "analysis.nc january.png korea.html korea.nc korea_t2m.tif map.nc mine.jsonl "
        "mine.safetensors sample_data seoul.png stations.csv truth.nc wet.tif"
    ),
    "docs/cookbook.md": "sample_data seen.nc smooth.nc",
}


AROUND_KOREA = {"lat": slice(27.375, 49.875), "lon": slice(112.375, 139.875)}  # whole cells


def samples(folder: Path) -> None:
    """Lay out the sample data with less of its fields: two months around Korea."""
    folder.mkdir()
    for path in (ROOT / "sample_data").iterdir():
        if path.name in ("east_asia_coarse.nc", "east_asia_fine.nc"):
            with xr.open_dataset(path) as year:
                year.isel(time=slice(2)).sel(AROUND_KOREA).to_netcdf(folder / path.name)
        else:
            (folder / path.name).symlink_to(path)


@pytest.mark.parametrize("page", WRITTEN)
def test_the_commands_of_a_page_run_as_they_stand(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples(tmp_path / "sample_data")
    monkeypatch.chdir(tmp_path)
    for line in shell(page):
        name, *words = shlex.split(re.sub(r"--minutes \S+", "--minutes 0.02", line))
        assert name == "dpdm"
        done(*words)
    assert " ".join(sorted(p.name for p in tmp_path.iterdir())) == WRITTEN[page]


def test_the_crontab_line_runs_as_cron_would_run_it(tmp_path: Path) -> None:
    (line,) = re.findall(r"```crontab\n(.*?)\n```", README, re.DOTALL)
    fields = line.split(maxsplit=5)
    assert all(re.fullmatch(r"[\d*/,-]+", field) for field in fields[:5])
    samples(tmp_path / "sample_data")
    site = tmp_path / "20cr"
    site.mkdir()
    text = (ROOT / "sample_data/reconstruct.toml").read_text(encoding="utf-8")
    (site / "20cr.toml").write_text(text.replace("members = 5", "members = 2"))
    shutil.copy(tmp_path / "sample_data/east_asia_coarse.nc", site)
    (tmp_path / "dpdm").write_text(
        f"#!{sys.executable}\nimport sys; sys.path[:0] = {[str(ROOT), str(ROOT / 'cli')]!r}\n"
        "from dpdm_cli.main import main; main()\n"
    )
    (tmp_path / "dpdm").chmod(0o755)
    environment = {"HOME": str(tmp_path), "PATH": f"{tmp_path}:/usr/bin:/bin", "LOGNAME": "me"}
    subprocess.run(["/bin/sh", "-c", fields[5]], env=environment, cwd="/", check=True)
    log = (site / "fine.log").read_text().splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ", said) for said in log)
    assert "all of fine is done" in log[-1]
    assert (site / "fine" / "fine_2012.nc").is_file()
