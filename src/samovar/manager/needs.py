"""What an instance of a version needs of a worker."""

from __future__ import annotations

from samovar.model.function import FunctionVersion
from samovar.ports import Need


def need_of(version: FunctionVersion) -> Need:
    """What placement is asked for. What is in /tmp counts as memory, not as disk."""
    packages = (version.code, *(layer.code for layer in version.layers))
    return Need(
        runtime=version.runtime,
        memory_mib=version.memory_mib,
        code_sha256=version.code.sha256_hex,
        vcpus=version.vcpus,
        disk_mib=sum(code.unpacked_bytes for code in packages) >> 20,
        architecture=version.architecture,
        template=version.arn if version.snapshotted else "",
    )
