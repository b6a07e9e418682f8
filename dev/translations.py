"""The addon's translations: exported, merged, checked. ``dev/i18n`` runs it, and so do the tests.

Nothing in the files changes from one run to the next: no dates, no versions, sorted by source.
"""

import io
import os
import re
import sys
from collections import Counter
from pathlib import Path

import polib

ADDON = "g2p_payment_simple_mpesa"
FOLDER = Path(__file__).resolve().parent.parent / "i18n"
TEMPLATE = FOLDER / f"{ADDON}.pot"
# Of the repository, what is no part of the addon, or is read by nobody.
NOT_READ = {"dev", "tests", "migrations", "i18n", "build", "dist"}

PLURALS = {"fr": "nplurals=2; plural=(n > 1);"}
TECHNICAL = re.compile(r"[a-z0-9]+(_[a-z0-9]+)+")
PLACEHOLDER = re.compile(r"%%|%(?:\(\w+\))?[-+ #0]*\d*(?:\.\d+)?[sdifr]")
TAG = re.compile(r"</?\w+[^>]*>")
# Marks that a sentence has at its end in every language.
ENDS = (".", "?", "!", ":", "…")


def export(env):
    """What people read of the addon, as the text of a .pot file.

    :param env: of a database with the addon, and an Odoo 19.
    """
    # pylint: disable=import-outside-toplevel
    from odoo.tools.translate import PoFileWriter

    buffer = io.BytesIO()
    PoFileWriter(buffer, None).write_rows(_reader(env))
    template = polib.pofile(buffer.getvalue().decode())
    _put_header(template, "")
    return str(template)


def _reader(env):
    from odoo.modules.module import get_module_path
    from odoo.tools.translate import PYTHON_TRANSLATION_COMMENT, TranslationModuleReader

    class Reader(TranslationModuleReader):
        """Odoo's reader, that leaves out of the repository what is not the addon.

        Odoo's own walk follows links, and the repository has one to itself below ``.dev``.
        """

        def _push_translation(self, module, kind, name, record, source, *args, **kwargs):
            # Behind a call within a call, Odoo's extractor takes other strings along.
            if not TECHNICAL.fullmatch(source or ""):
                super()._push_translation(module, kind, name, record, source, *args, **kwargs)

        def _export_translatable_resources(self):
            addon = Path(get_module_path(ADDON))
            web = {
                ".js": ("odoo.tools.babel:extract_javascript", {"_t": None}),
                ".xml": ("odoo.tools.translate:babel_extract_qweb", {"_": None}),
            }
            for path in sorted(_files(addon)):
                where = (path.name, str(addon.parent), str(path.parent))
                if path.suffix == ".py":
                    self._babel_extract_terms(
                        *where,
                        "odoo.tools.babel:extract_python",
                        extra_comments=[PYTHON_TRANSLATION_COMMENT],
                        extract_keywords={"_": None, "_lt": None},
                    )
                elif path.suffix in web and path.is_relative_to(addon / "static" / "src"):
                    method, keywords = web[path.suffix]
                    self._babel_extract_terms(
                        *where,
                        method,
                        extra_comments=["odoo-javascript"],
                        extract_keywords=keywords,
                    )

    return Reader(env.cr, modules=[ADDON])


def _files(addon):
    for folder in addon.iterdir():
        if folder.is_dir() and folder.name not in NOT_READ and not folder.name.startswith("."):
            yield from folder.rglob("*.*")


def _put_header(file, code):
    file.header = f"Translation of {ADDON}." + (
        "\nThe terms that it keeps to stand in dev/glossary.md." if code else ""
    )
    file.metadata = {
        "Project-Id-Version": ADDON,
        "Report-Msgid-Bugs-To": "",
        "Last-Translator": "",
        "Language-Team": "",
        "Language": code,
        "MIME-Version": "1.0",
        "Content-Type": "text/plain; charset=UTF-8",
        "Content-Transfer-Encoding": "8bit",
        "Plural-Forms": PLURALS.get(code, "nplurals=2; plural=(n != 1);") if code else "",
    }


def merge(template, path):
    """Give a .po file the terms of the template, with the translations that it has."""
    known = {entry.msgid: entry for entry in polib.pofile(str(path)) if not entry.obsolete}
    merged = polib.POFile()
    for entry in polib.pofile(template):
        old = known.get(entry.msgid)
        if old:
            entry.msgstr, entry.tcomment = old.msgstr, old.tcomment
            entry.flags += [flag for flag in old.flags if flag not in entry.flags]
        merged.append(entry)
    _put_header(merged, path.stem)
    path.write_text(str(merged), encoding="utf-8")


def problems(path):
    """What is wrong with a .po file: a list of sentences, empty if nothing is."""
    name = path.name
    template = {entry.msgid for entry in polib.pofile(str(TEMPLATE))}
    entries = [entry for entry in polib.pofile(str(path)) if not entry.obsolete]
    found = [f"{name} lacks {msgid!r}" for msgid in sorted(template - {entry.msgid for entry in entries})]
    for entry in entries:
        if entry.msgid not in template:
            found.append(f"{name} has {entry.msgid!r}, which the addon does not say")
        elif not entry.msgstr:
            found.append(f"{name} has no translation of {entry.msgid!r}")
        else:
            found += [f"{name}: {problem} in {entry.msgstr!r}" for problem in _differences(entry)]
    return found


def _differences(entry):
    if "fuzzy" in entry.flags:
        yield "fuzzy"
    # Without a name, placeholders are filled in by their order.
    if _placeholders(entry.msgid) != _placeholders(entry.msgstr):
        yield f"not the placeholders of {entry.msgid!r}"
    if Counter(TAG.findall(entry.msgid)) != Counter(TAG.findall(entry.msgstr)):
        yield f"not the tags of {entry.msgid!r}"
    if [text[:1].isspace() for text in (entry.msgid, entry.msgstr)] != [entry.msgid[:1].isspace()] * 2:
        yield "not the space at the beginning"
    if entry.msgid.endswith(ENDS) != entry.msgstr.endswith(ENDS):
        yield "another mark at the end"


def _placeholders(text):
    found = PLACEHOLDER.findall(text)
    return sorted(found) if any("(" in part for part in found) else found


def languages():
    """The .po files, as paths."""
    return sorted(FOLDER.glob("*.po"))


def main(database, check=False):
    """Export and merge, or with ``check`` only say what is wrong. Gives the exit status."""
    from odoo import SUPERUSER_ID, api
    from odoo.modules.registry import Registry
    from odoo.tools import config

    config.parse_config(["-c", os.environ["ODOO_RC"], "-d", database, "--log-level=error"])
    with Registry(database).cursor() as cr:
        template = export(api.Environment(cr, SUPERUSER_ID, {}))
    found = []
    if not check:
        TEMPLATE.write_text(template, encoding="utf-8")
        for path in languages():
            merge(template, path)
    elif not TEMPLATE.exists() or TEMPLATE.read_text(encoding="utf-8") != template:
        found.append(f"{TEMPLATE.name} is not what the addon says now: run dev/i18n")
    for path in languages():
        found += problems(path)
    for problem in found:
        print(problem)
    return 1 if check and found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], "--check" in sys.argv[2:]))
