"""What an instance of a pool needs of a worker."""

from __future__ import annotations

from samovar.manager.pool import Pool
from samovar.ports import Need


def need_of(pool: Pool) -> Need:
    """What placement is asked for. What is in /tmp counts as memory, not as disk."""
    version = pool.version
    packages = (version.code, *(layer.code for layer in version.layers))
    return Need(
        runtime=version.runtime,
        memory_mib=version.memory_mib,
        code_sha256=version.code.sha256_hex,
        vcpus=version.vcpus,
        disk_mib=sum(code.unpacked_bytes for code in packages) >> 20,
        architecture=version.architecture,
        template=version.arn if version.snapshotted else "",
        beside=pool.beside,
        refused_by=pool.refused_by,
    )
