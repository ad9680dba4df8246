"""What every file adapter must do, checked on small files of each form and on the real ones where they are present."""

from __future__ import annotations

import gzip
import zipfile
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from duckdb import DuckDBPyConnection

from duecare.errors import BadInput
from duecare.registers.adapter import Coverage, FileAdapter, Staged, adapters
from duecare.registers.adapters.csv_mapping import CsvMapping
from duecare.registers.adapters.uk_sponsors import UkSponsors
from duecare.registers.ingest import ingest_file, must_be_file
from duecare.settings import load
from duecare.store.home import Home
from tests.registers.samples import SAMPLES, Sample, damaged

each_sample = pytest.mark.parametrize("sample", SAMPLES, ids=lambda each: f"{each.source}/{each.file}")
each_table = pytest.mark.parametrize(
    "sample", [each for each in SAMPLES if each.form == "csv"], ids=lambda each: f"{each.source}/{each.file}"
)
each_with_a_record_a_line = pytest.mark.parametrize(
    "sample",
    [each for each in SAMPLES if each.form in ("csv", "lines")],
    ids=lambda each: f"{each.source}/{each.file}",
)


@pytest.fixture(scope="module")
def connection() -> Iterator[DuckDBPyConnection]:
    with duckdb.connect() as opened:
        yield opened


def content(staged: Staged) -> dict[str, list[tuple[object, ...]]]:
    """All rows of all sections, in one order."""
    return {name: sorted(rows.fetchall(), key=repr) for name, rows in staged.rows.items()}


def refused(staged: Staged) -> list[tuple[int, str, str]]:
    assert staged.rejects is not None
    return staged.rejects.fetchall()


def written(folder: Path, sample: Sample, text: str | bytes) -> Path:
    path = folder / sample.file
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_every_installed_file_adapter_has_a_sample() -> None:
    """An adapter without a sample is an adapter that nobody checks."""
    installed = {name for name, found in adapters().items() if isinstance(found, FileAdapter)}
    assert installed <= {sample.source for sample in SAMPLES}


@each_sample
def test_source_is_declared(sample: Sample) -> None:
    """A source says by what right it is processed, what it decides, and which version of the parser reads it."""
    adapter = sample.adapter()
    assert adapter.source.name == sample.source
    assert adapter.source.legal_basis.strip()
    assert adapter.source.licence.strip()
    assert adapter.version
    assert set(adapter.source.authoritative_for) <= {section.name for section in adapter.sections}


@each_sample
def test_columns_are_those_of_the_contract(sample: Sample, connection: DuckDBPyConnection) -> None:
    """A section has entity, key, effective_on and exactly its declared fields, all text but the date."""
    adapter = sample.adapter()
    staged = adapter.stage(sample.path, connection)
    for section in adapter.sections:
        if section.name not in staged.rows:
            continue
        rows = staged.rows[section.name]
        columns = dict(zip(rows.columns, map(str, rows.types), strict=True))
        assert columns.pop("correction", "BOOLEAN") == "BOOLEAN"
        assert list(columns) == ["entity", "key", "effective_on", *section.fields]
        assert columns.pop("effective_on") == "DATE"
        assert set(columns.values()) <= {"VARCHAR", '"NULL"', "NULL"}


@each_sample
def test_values_keep_the_contract(sample: Sample, connection: DuckDBPyConnection) -> None:
    """Entity and key are unique and given, an unkeyed section has the empty key, and no value is an empty text."""
    adapter = sample.adapter()
    staged = adapter.stage(sample.path, connection)
    keyed = {section.name: section.keyed for section in adapter.sections}
    for name, rows in content(staged).items():
        assert rows, name
        assert len({row[:2] for row in rows}) == len(rows)
        assert all(row[0] and row[1] is not None and (bool(row[1]) == keyed[name]) for row in rows)
        assert not any(value == "" or (isinstance(value, str) and value != value.strip()) for row in rows
                       for value in row[2:])  # fmt: skip


@each_sample
def test_each_form_covers_its_own_sections(sample: Sample, connection: DuckDBPyConnection) -> None:
    """A file says which sections it speaks for, and speaks for no other: not read is not the same as empty."""
    staged = sample.adapter().stage(sample.path, connection)
    assert set(staged.coverage) == set(staged.rows) == sample.covers
    assert refused(staged) == []


@each_with_a_record_a_line
def test_sections_without_rows_are_still_covered(
    sample: Sample, connection: DuckDBPyConnection, tmp_path: Path
) -> None:
    """A section that the form has and that holds nothing was read, and found empty."""
    lines = sample.text.splitlines(keepends=True)
    text = "".join(lines[:2]) if sample.form == "csv" else lines[1]
    staged = sample.adapter().stage(written(tmp_path, sample, text), connection)
    assert set(staged.coverage) == set(staged.rows) == sample.covers


@each_sample
def test_reading_twice_gives_the_same(sample: Sample, connection: DuckDBPyConnection) -> None:
    """Two readings of one file on one connection neither differ nor disturb each other."""
    adapter = sample.adapter()
    first, second = adapter.stage(sample.path, connection), adapter.stage(sample.path, connection)
    assert content(first) == content(second)


@each_sample
@pytest.mark.parametrize("seed", range(3))
def test_another_order_is_no_change(sample: Sample, connection: DuckDBPyConnection, tmp_path: Path, seed: int) -> None:
    """The same records in another order give the same rows."""
    adapter = sample.adapter()
    moved = adapter.stage(written(tmp_path, sample, sample.shuffled(seed)), connection)
    assert content(moved) == content(adapter.stage(sample.path, connection))


@each_table
def test_another_order_of_columns_is_no_change(sample: Sample, connection: DuckDBPyConnection, tmp_path: Path) -> None:
    """Columns are found by their names."""
    adapter = sample.adapter()
    moved = adapter.stage(written(tmp_path, sample, sample.with_columns_moved()), connection)
    assert content(moved) == content(adapter.stage(sample.path, connection))


@each_with_a_record_a_line
def test_records_said_twice_collapse(sample: Sample, connection: DuckDBPyConnection, tmp_path: Path) -> None:
    """An exact repetition is neither a row nor a reject."""
    lines = sample.text.splitlines(keepends=True)
    adapter = sample.adapter()
    staged = adapter.stage(written(tmp_path, sample, sample.text + "".join(lines[1:])), connection)
    assert content(staged) == content(adapter.stage(sample.path, connection))
    assert refused(staged) == []


@each_sample
def test_a_bad_record_is_set_aside(sample: Sample, connection: DuckDBPyConnection, tmp_path: Path) -> None:
    """A record that cannot be right is rejected as it is written, with line and reason, and the rest goes on."""
    text, line = sample.with_bad()
    adapter = sample.adapter()
    staged = adapter.stage(written(tmp_path, sample, text), connection)
    found = refused(staged)
    assert [each[0] for each in found] == [line]
    assert sample.reason in found[0][1]
    if sample.form in ("csv", "lines"):
        assert found[0][2] == text.splitlines()[line - 1][:500]
    else:
        # Several lines of a document are put on one.
        assert len(found[0][2]) > 20
        assert "".join(found[0][2].split()) in "".join(text.split())
    expected = content(adapter.stage(sample.path, connection))
    if sample.form == "members":  # a good record had to be put before it
        staged_rows = {name: [row for row in rows if row[0] != "first"] for name, rows in content(staged).items()}
        assert staged_rows == expected
    else:
        assert content(staged) == expected


WORDS = (
    "示例6",
    "Sonstige",
    "Annulled",
    "first",
    "Nobody",
    "LEEDS",
    "volt new",
    "Unnumbered",
    "EXAMPLE",
    "Third",
    "Gamma",
)


@each_sample
def test_a_nul_is_set_aside(sample: Sample, connection: DuckDBPyConnection, tmp_path: Path) -> None:
    """PostgreSQL takes no text with a NUL in it: the record that holds one is rejected, wherever in the file it is."""
    text, nul = sample.text, "\0" if sample.form == "csv" else "\\u0000"
    at = text.rindex(next(word for word in WORDS if word in text)) + 1
    staged = sample.adapter().stage(written(tmp_path, sample, text[:at] + nul + text[at:]), connection)
    assert [reason for _, reason, _ in refused(staged)] == ["a NUL character in its text"]
    assert "\\x00" not in repr(refused(staged)) + repr(content(staged))
    assert "u0000" not in repr(content(staged))


@each_sample
def test_damaged_files_are_refused_whole(sample: Sample, connection: DuckDBPyConnection, tmp_path: Path) -> None:
    """What is empty, cut short or something else yields nothing, and the message says what is wrong."""
    adapter = sample.adapter()
    for what, body in damaged(sample.path.read_bytes(), sample.form).items():
        with pytest.raises(BadInput) as raised:
            adapter.stage(written(tmp_path, sample, body), connection)
        assert raised.value.message, what
        assert raised.value.hint, what


@each_sample
def test_packed_files_read_the_same(sample: Sample, connection: DuckDBPyConnection, tmp_path: Path) -> None:
    """Gzip and zip are unpacked, whatever the file is called; a cut archive is refused."""
    adapter = sample.adapter()
    expected = content(adapter.stage(sample.path, connection))
    body = sample.path.read_bytes()
    packed = tmp_path / "snapshot"
    packed.write_bytes(gzip.compress(body))
    assert content(adapter.stage(packed, connection)) == expected
    packed.write_bytes(gzip.compress(body)[:-9])
    with pytest.raises(BadInput, match="cut short"):
        adapter.stage(packed, connection)
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(sample.file, body)
    assert content(adapter.stage(packed, connection)) == expected
    packed.write_bytes(packed.read_bytes()[:-30])
    with pytest.raises(BadInput, match="cut short"):
        adapter.stage(packed, connection)


# What the real files hold that cannot be read, and why that is right:
#   2002: 713 + 181 records whose text was damaged before publication (the 181 have eleven columns besides), 17 numbers
#   of thirteen digits without a check digit, 3 wrong check characters, 1 number of an office; 2003: 37, 8 and 2 offices
#   that say 无. German notices: one about a company that is on no electronic register. Mutuals: two numbers that stand
#   for two societies each. Reserve Banks: one name with quotation marks inside quotation marks.
REJECTS = {
    "2002.csv.gz": 915, "2003.csv.gz": 47, "de-registerbekanntmachungen/2026-08-03.csv": 1,
    "uk-mutuals-register-history/2025-07-08.csv": 1, "uk-mutuals-register-history/2025-10-07.csv": 2,
    "uk-mutuals-register-history/2026-05-28.csv": 2, "2025-07-01-holders.csv": 1,
}  # fmt: skip


def test_real_files_are_read_with_few_rejects(data: Path, connection: DuckDBPyConnection) -> None:
    """Every real file is read, and the rejects are exactly those that were looked at and found right."""
    found = {}
    for name, adapter in adapters().items():
        for path in sorted((data / name).glob("*")) if isinstance(adapter, FileAdapter) else []:
            staged = adapter.stage(path, connection)
            assert all(rows.count("*").fetchall()[0][0] for rows in staged.rows.values())
            found[f"{name}/{path.name}"] = len(refused(staged))
    print(found)
    expected = {name: next((n for end, n in REJECTS.items() if name.endswith(end)), 0) for name in found}
    assert found == expected


def test_a_recoding_of_sponsors_is_no_change(connection: DuckDBPyConnection, data: Path) -> None:
    """Between two copies whose numbers stand for other words, no licence that both have has changed."""
    folder = data / "uk-licensed-sponsors-history"
    licences = []
    for day in ("2026-04-30", "2026-06-01"):
        rows = UkSponsors().stage(folder / f"{day}-v.json", connection).rows["sponsor_licences"].fetchall()
        licences.append({row[:2]: row[3:] for row in rows})
    both = licences[0].keys() & licences[1].keys()
    assert len(both) > 2600
    assert [key for key in both if licences[0][key] != licences[1][key]] == []


def test_an_unknown_coding_is_refused(connection: DuckDBPyConnection, tmp_path: Path) -> None:
    """A copy that makes no sense under any known table is not read under a wrong one."""
    path = tmp_path / "v.json"
    path.write_text(
        '{"a": [{"type": 6, "rating": 1}], "b": [{"type": 12, "rating": 4}], "c": [{"type": 40, "rating": 1}]}'
    )
    with pytest.raises(BadInput, match="no sense"):
        UkSponsors().stage(path, connection)


def test_a_wrong_header_is_seen_through(connection: DuckDBPyConnection) -> None:
    """The list of July 2025 has its columns in the usual order under names in another order."""
    sample = next(each for each in SAMPLES if each.file == "requestors.csv")
    adapter = sample.adapter()
    misnamed = adapter.stage(sample.path.with_name("requestors-misnamed.csv"), connection)
    assert content(misnamed) == content(adapter.stage(sample.path, connection))


def test_both_forms_of_the_golden_copy_say_the_same(connection: DuckDBPyConnection) -> None:
    """CSV and JSON of one golden copy give the same rows."""
    forms = [each for each in SAMPLES if each.source == "gleif-lei"]
    first, second = (content(each.adapter().stage(each.path, connection)) for each in forms)
    assert first == second


def test_lapsed_is_not_closed(connection: DuckDBPyConnection) -> None:
    """An LEI that nobody renewed leaves its entity active; one that should not have been issued is a correction."""
    sample = next(each for each in SAMPLES if each.file == "golden-copy.csv")
    staged = sample.adapter().stage(sample.path, connection)
    status = {row[0]: row for row in staged.rows["basic"].select("name, status, correction").fetchall()}
    assert status["Sample [plc] \\ Söhne"][1:] == ("ACTIVE", False)
    assert status["Annulled Ltd"][1:] == ("INACTIVE", True)


def test_a_part_of_the_companies_speaks_only_for_itself(connection: DuckDBPyConnection, tmp_path: Path) -> None:
    """One of seven parts must not close the companies of the six others."""
    sample = next(each for each in SAMPLES if each.file == "reduced.csv")
    with zipfile.ZipFile(tmp_path / "snapshot", "w") as archive:
        archive.writestr("BasicCompanyData-2026-02-01-part1_7.csv", sample.text)
    staged = sample.adapter().stage(tmp_path / "snapshot", connection)
    assert set(staged.coverage.values()) == {Coverage.LISTED}


def test_a_row_that_is_set_aside_closes_none_of_its_company(tmp_path: Path) -> None:
    """A file speaks for the companies it names; a row of one of them that cannot be read is not gone."""
    sample = next(each for each in SAMPLES if each.source == "mapped")
    bad = sample.text.replace("Example Ltd;00000001;b", "Example Ltd;0000000l;b")
    with Home(load(home=tmp_path / "home")) as home:
        ingest_file(home, sample.adapter(), sample.path)
        outcome = ingest_file(home, sample.adapter(), written(tmp_path, sample, bad))
    assert (outcome.rejects, outcome.changes) == (1, {})


def test_conflicting_records_are_told_and_the_common_one_is_kept(
    connection: DuckDBPyConnection, tmp_path: Path
) -> None:
    """Of records that contradict each other, what most say is kept in any order, and the others are rejected."""
    sample = next(each for each in SAMPLES if each.source == "us-sec-issuers-history")
    header = sample.text.splitlines()[0]
    rows = ["1,A,Right,NYSE", "1,B,Right,NYSE", "1,C,Another,NYSE"]
    for order in (rows, rows[::-1]):
        staged = sample.adapter().stage(written(tmp_path, sample, "\n".join([header, *order]) + "\n"), connection)
        assert [row[3] for row in staged.rows["basic"].fetchall()] == ["Right"]
        assert [(line, reason[:13]) for line, reason, _ in refused(staged)] == [
            (2 + order.index(rows[2]), "duplicate key")
        ]


def test_lines_are_those_of_the_file(connection: DuckDBPyConnection, tmp_path: Path) -> None:
    """Line numbers count line breaks inside values, blank lines, and either kind of line end; records that are set
    aside are kept as they are written there."""
    sample = next(each for each in SAMPLES if each.source == "us-sec-issuers-history")
    body = 'CIK,Ticker,Name,Exchange\n1,A,"Two\nlines",X\nx ,B, N,X\n2,C\n3,D,"a\n\nb",X\ny,E,"N\n\nM",X\nz,F,N,X\n'
    for text, lines, texts in (
        (body, [4, 5, 9, 12], ["x ,B, N,X", "2,C", 'y,E,"N\n\nM",X', "z,F,N,X"]),
        (body.replace("\n", "\r\n"), [4, 5, 9, 12], ["x ,B, N,X", "2,C", 'y,E,"N\r\n\r\nM",X', "z,F,N,X"]),
        ("CIK,Ticker,Name,Exchange\n\n1,A,N,X\nx,B,N,X\n\n2,C\n3,D,N,X\ny,E,N,X\n", [4, 6, 8], None),
        ("CIK,Ticker,Name,Exchange\r\n1,A,N,X\nx,B,N,X\r\n2,C\n3,D,N,X\ny,E,N,X\n", [3, 4, 6], None),
    ):
        staged = sample.adapter().stage(written(tmp_path, sample, text), connection)
        found = refused(staged)
        assert [each[0] for each in found] == lines, text
        assert [each[2] for each in found] == (texts or ["x,B,N,X", "2,C", "y,E,N,X"])


def test_a_quotation_mark_that_never_closes_swallows_nothing(connection: DuckDBPyConnection, tmp_path: Path) -> None:
    """DuckDB drops what follows an open quotation mark in silence; a file with such a gap is refused."""
    sample = next(each for each in SAMPLES if each.source == "us-sec-issuers-history")
    rows = [f"{n},T{n},{chr(34) if n == 500 else ''}Name {n},NYSE\n" for n in range(1, 200_000)]
    path = written(tmp_path, sample, "CIK,Ticker,Name,Exchange\n" + "".join(rows))
    with pytest.raises(BadInput, match="never closed"):
        sample.adapter().stage(path, connection)


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("fresh_for_days = 30", 'fresh_for_days = "often"', "source.fresh_for_days is 'often'"),
        ("operator =", "operater =", "no source.operator"),
        ('key = ["Kind", "Entered"]', 'key = "Kind"', "section[1].key is 'Kind'"),
        ('category = "risk"', 'category = "danger"', "section[1].category is 'danger'"),
        ('code = "uk_company"', 'code = "isin"', "entity.code is 'isin'"),
        ('encoding = "latin-1"', 'encoding = "latin-99"', "file.encoding is 'latin-99'"),
        ('coverage = "listed"', 'covrage = "listed"', "section[1].covrage is not a key we know"),
        ('coverage = "listed"', 'coverage = "partial"', "one of whole, listed, additions"),
        ("[source]", "[source", "is not TOML"),
        ('name = "notes"', 'name = "basic"', "given twice"),
        ('name = "notes"', "name = \"ba'sic\"", "section[1].name is \"ba'sic\""),
        ('name = "notes"', f'name = "{61 * "n"}"', "section[1].name is 'nn"),
        ('name = "mapped"', 'name = "../../evil"', "source.name is '../../evil'"),
        ('name = "mapped"', 'name = "."', "source.name is '.'"),
        ('name = "mapped"', 'name = "a\\u0000"', "source.name is 'a\\x00'"),
        ('name = "mapped"', 'name = "a\\nb"', "source.name is 'a\\nb'"),
        ('name = "mapped"', f'name = "{101 * "n"}"', "source.name is 'nn"),
        ("fresh_for_days = 30", "fresh_for_days = 1000000000000", "source.fresh_for_days is 1000000000000"),
        ("%d/%m/%Y", "%Q", "section[1].date_format is '%Q'"),
        ("%d/%m/%Y", "100%%", "section[1].date_format is '100%%'"),
        ("%d/%m/%Y", "%H:%M", "section[1].date_format is '%H:%M'"),
        ('delimiter = ";"', 'delimiter = ";"\nquote = ";"', "file.quote is ';'"),
        ('delimiter = ";"', 'delimiter = "\\n"', "file.delimiter is '\\n'"),
        ('delimiter = ";"', 'delimiter = ";"\nquote = "“"', "file.quote is '“'"),
        ('encoding = "latin-1"', 'encoding = "undefined"', "file.encoding is 'undefined'"),
        ('note = "Note"', '"" = "Note"', "section[1].fields is"),
        ('note = "Note"', 'note = "Note"\nNote = "Note"', "section[1].fields is"),
        ('note = "Note"', 'note = "No\\u0000te"', "fields.note is"),
    ],
)  # fmt: skip
def test_a_wrong_mapping_says_which_key(right: str, wrong: str, said: str, tmp_path: Path) -> None:
    """A mapping that cannot be followed names the key, what was given and what would be right."""
    good = (Path(__file__).parents[1] / "data" / "mapped" / "mapping.toml").read_text()
    assert right in good
    path = tmp_path / "mapping.toml"
    path.write_text(good.replace(right, wrong, 1))
    with pytest.raises(BadInput) as raised:
        CsvMapping(path)
    assert said in str(raised.value)


def test_a_mapping_with_another_date_format_is_refused(connection: DuckDBPyConnection, tmp_path: Path) -> None:
    """A date format that fits no value is a mistake of the mapping, not thousands of unknown dates."""
    good = (Path(__file__).parents[1] / "data" / "mapped" / "mapping.toml").read_text()
    path = tmp_path / "mapping.toml"
    path.write_text(good.replace("%d/%m/%Y", "%Y-%m-%d"))
    sample = next(each for each in SAMPLES if each.source == "mapped")
    with pytest.raises(BadInput, match="Entered are no dates"):
        CsvMapping(path).stage(sample.path, connection)


def test_a_column_may_be_called_as_it_likes(connection: DuckDBPyConnection, tmp_path: Path) -> None:
    """Names that the engine or we use ourselves, and names that differ in case only, are names like any other."""
    names = ["rowid", "record", "place", "said", "variant", "mark", "c0", "column0", "Name", "name", "hash", "line"]
    good = (Path(__file__).parents[1] / "data" / "mapped" / "mapping.toml").read_text().split("[file]")[0]
    fields = "".join(f'{field} = "{field}"\n' for field in names if field not in ("Name", "name"))
    mapping, listed = tmp_path / "mapping.toml", tmp_path / "list.csv"
    mapping.write_text(
        f'{good}[entity]\ncolumns = ["rowid"]\n[[section]]\nname = "basic"\n'
        f'[section.fields]\nupper = "Name"\nlower = "name"\n{fields}'
    )
    rows = [[f"{name}-{row}" for name in names] for row in range(3)]
    rows.append(["rowid-0", *(f"{name}-other" for name in names[1:])])
    listed.write_text("\n".join(",".join(each) for each in [names, *rows, rows[0], ["", "no", *rows[0][2:]]]) + "\n")
    staged = CsvMapping(mapping).stage(listed, connection)
    found = staged.rows["basic"].order("entity").project("entity, upper, lower, rowid, place, said").fetchall()
    assert found == [
        (f"rowid-{n}", f"Name-{n}", f"name-{n}", f"rowid-{n}", f"place-{n}", f"said-{n}") for n in range(3)
    ]
    assert staged.rejects is not None
    assert sorted(staged.rejects.project("line").fetchall()) == [(5,), (7,)]


def test_another_encoding_is_named(connection: DuckDBPyConnection, tmp_path: Path) -> None:
    """A table in GBK is told apart from a table of another source."""
    sample = next(each for each in SAMPLES if each.source == "cn-enterprise-registration-2002-2003")
    with pytest.raises(BadInput, match="not UTF-8") as raised:
        sample.adapter().stage(written(tmp_path, sample, sample.text.encode("gb18030")), connection)
    assert "iconv" in raised.value.hint


def test_a_folder_is_not_called_a_missing_file(tmp_path: Path) -> None:
    """Who names a folder is told to name the files in it."""
    with pytest.raises(BadInput, match="is a folder") as raised:
        must_be_file(tmp_path)
    assert f"{tmp_path}/*" in raised.value.hint
