"""What a file is, told from its first bytes."""

import json

import pytest

from copamerge.io.tensorfile import open_tensors


@pytest.mark.parametrize("second", [2, 3, 4, 5])
def test_a_safetensors_file_may_begin_like_a_pickle(second, tmp_path):
    """It begins with the length of its header: 0x0280 is also how a pickle of protocol 2 begins."""
    length = 0x80 + 256 * second
    header = json.dumps({"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}})
    path = tmp_path / "adapter_model.safetensors"
    path.write_bytes(length.to_bytes(8, "little") + header.ljust(length).encode() + bytes(4))
    assert path.read_bytes()[:2] == bytes([0x80, second])

    file = open_tensors(path)

    assert float(file.read("x")) == 0.0
