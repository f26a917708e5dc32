"""The control-plane operations of the Lambda API and of its neighbours, one noun a file."""

from __future__ import annotations

from collections.abc import Mapping

from samovar.frontend.operations.aliases import AliasOperations
from samovar.frontend.operations.capacity_providers import CapacityProviderOperations
from samovar.frontend.operations.concurrency import ConcurrencyOperations
from samovar.frontend.operations.control import Control, Handler
from samovar.frontend.operations.event_invoke_configs import EventInvokeConfigOperations
from samovar.frontend.operations.event_sources import EventSourceOperations
from samovar.frontend.operations.function_scaling import FunctionScalingOperations
from samovar.frontend.operations.functions import FunctionOperations
from samovar.frontend.operations.layer_policies import LayerPolicyOperations
from samovar.frontend.operations.layers import LayerOperations
from samovar.frontend.operations.provisioned import ProvisionedConcurrencyOperations
from samovar.frontend.operations.schedule_groups import ScheduleGroupOperations
from samovar.frontend.operations.scheduler_control import SchedulerControl
from samovar.frontend.operations.schedules import ScheduleOperations
from samovar.frontend.operations.tags import TagOperations
from samovar.frontend.operations.versions import VersionOperations


def handlers(control: Control) -> Mapping[str, Handler]:
    """Operation name → what answers it. An operation that is not here is answered with a 501."""
    return {
        **FunctionOperations(control).handlers(),
        **VersionOperations(control).handlers(),
        **AliasOperations(control).handlers(),
        **ConcurrencyOperations(control).handlers(),
        **ProvisionedConcurrencyOperations(control).handlers(),
        **CapacityProviderOperations(control).handlers(),
        **FunctionScalingOperations(control).handlers(),
        **EventInvokeConfigOperations(control).handlers(),
        **EventSourceOperations(control).handlers(),
        **TagOperations(control).handlers(),
        **LayerOperations(control).handlers(),
        **LayerPolicyOperations(control).handlers(),
    }


def scheduler_handlers(control: SchedulerControl) -> Mapping[str, Handler]:
    """Likewise for EventBridge Scheduler."""
    return {
        **ScheduleOperations(control).handlers(),
        **ScheduleGroupOperations(control).handlers(),
    }
