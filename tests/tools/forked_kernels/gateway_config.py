"""The configuration of a gateway whose kernels are forked from a template: `run_gateway` in tests/conftest.py names it."""

from __future__ import annotations

import importlib
import os
import sys
import uuid
from importlib.metadata import EntryPoint
from pathlib import Path

from jupyter_client.provisioning import KernelProvisionerFactory
from jupyter_core.application import JupyterApp

NAME = "forking-provisioner"

sys.path.append(str(Path(__file__).parent))
KernelProvisionerFactory.provisioners[NAME] = EntryPoint(
    NAME, "forking_provisioner:ForkingProvisioner", KernelProvisionerFactory.GROUP_NAME
)
# Now, so that its imports are done beside the gateway's. Its command line is as long as that of a kernel.
forking_provisioner = importlib.import_module("forking_provisioner")
connection_file = os.path.join(JupyterApp.instance().runtime_dir, f"kernel-{uuid.UUID(int=0)}.json")  # noqa: PTH118
forking_provisioner.ForkingProvisioner.template = forking_provisioner.Template(
    [sys.executable, *forking_provisioner.LAUNCHER, connection_file], dict(os.environ)
)
c = get_config()  # type: ignore[name-defined]  # noqa: F821 - what reads a configuration gives it this function
c.KernelProvisionerFactory.default_provisioner_name = NAME
