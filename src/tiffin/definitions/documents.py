"""Documents: YAML text to plain data and back. Loaded at its first use: services, which speak JSON, need none of it."""

from __future__ import annotations

from typing import Any

import yaml

from tiffin.errors import InvalidDefinition


def load_documents(text: str) -> list[Any]:
    """The documents of a YAML text, empty ones left out."""
    try:
        return [document for document in yaml.load_all(text, _Loader) if document is not None]
    except yaml.YAMLError as error:
        raise InvalidDefinition(f"The text is not YAML: {error}.") from None
    except RecursionError:
        raise InvalidDefinition("The text is not YAML of definitions: it is nested too deeply.") from None


def written(document: dict[str, Any]) -> str:
    """A document as YAML that is read back exactly."""
    text: str = yaml.dump(document, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)
    return text


class _Loader(yaml.SafeLoader):
    """Reads plain data, and refuses a key that stands twice: one of its values would be lost without a word."""

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # Here a mapping has its own keys alone: merges bring others later, which its own may overrule.
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        twice = next((key for key in keys if keys.count(key) > 1 and key != "<<"), None)
        if twice is not None:
            raise yaml.constructor.ConstructorError(None, None, f"the key {twice!r} stands twice", node.start_mark)
        return node


class _Dumper(yaml.SafeDumper):
    """Writes texts so that they are read back exactly."""


def _represent_text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    # Outside double quotes, line breaks other than a newline are read.
    style = '"' if any(mark in value for mark in "\r\x85\u2028\u2029") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _represent_text)
