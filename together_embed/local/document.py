"""Gives the OpenAPI document of one endpoint: the contract, and what it adds to it.

`openapi.json` beside this module describes the contract alone. What an endpoint grants
or refuses beyond that depends on its settings, and is written in here.
"""

import json
from importlib import resources
from typing import Any

from together_embed.local.contract import Terms


def document(terms: Terms) -> dict[str, Any]:
    """Build the document of an endpoint with these terms."""
    source = resources.files(__package__ or "").joinpath("openapi.json")
    contract: dict[str, Any] = json.loads(source.read_text("utf-8"))
    schemas = contract["components"]["schemas"]
    fields = schemas["EmbeddingsRequest"]["properties"]
    if not terms.strict:
        del schemas["EmbeddingsRequest"]["additionalProperties"]
        contract["paths"]["/embeddings"]["post"]["requestBody"]["required"] = False
    if terms.models is not None:
        fields["model"]["examples"] = sorted(terms.models)
    if terms.base64 == "honour":
        fields["encoding_format"] = _FORMAT
        row = schemas["Row"]["properties"]
        row["embedding"] = {"oneOf": [row["embedding"], _PACKED]}
    if terms.dimensions == "honour":
        whole = {"type": "integer", "minimum": 1, "maximum": terms.dimension}
        fields["dimensions"] = {**whole, "description": "Numbers in each vector."}
    if terms.base64 == "ignore":
        fields["encoding_format"] = {"description": "Taken, and left unused."}
    if terms.dimensions == "ignore":
        fields["dimensions"] = {"description": "Taken, and left unused."}
    return contract


_FORMAT = {
    "type": "string",
    "enum": ["float", "base64"],
    "default": "float",
    "description": "How the vectors are written.",
}
_PACKED = {
    "type": "string",
    "contentEncoding": "base64",
    "description": "The numbers as little-endian float32, in base64.",
}
