"""Contains all the data models used in inputs/outputs"""

from .capabilities import Capabilities
from .create_sandbox import CreateSandbox
from .create_sandbox_form import CreateSandboxForm
from .exec_request import ExecRequest
from .exec_request_env import ExecRequestEnv
from .exec_request_input_encoding import ExecRequestInputEncoding
from .exec_response import ExecResponse
from .file_content import FileContent
from .file_content_encoding import FileContentEncoding
from .health import Health
from .limits import Limits
from .problem import Problem
from .process import Process
from .process_state import ProcessState
from .sandbox_created import SandboxCreated
from .sandbox_info import SandboxInfo
from .sandbox_info_labels import SandboxInfoLabels
from .sandbox_info_service import SandboxInfoService
from .sandbox_list import SandboxList
from .sandbox_state import SandboxState
from .service import Service
from .service_environment_type_0 import ServiceEnvironmentType0
from .service_labels_type_0 import ServiceLabelsType0
from .stop_failure import StopFailure
from .stop_request import StopRequest
from .stop_result import StopResult
from .write_request import WriteRequest
from .write_request_encoding import WriteRequestEncoding
from .write_response import WriteResponse

__all__ = (
    "Capabilities",
    "CreateSandbox",
    "CreateSandboxForm",
    "ExecRequest",
    "ExecRequestEnv",
    "ExecRequestInputEncoding",
    "ExecResponse",
    "FileContent",
    "FileContentEncoding",
    "Health",
    "Limits",
    "Problem",
    "Process",
    "ProcessState",
    "SandboxCreated",
    "SandboxInfo",
    "SandboxInfoLabels",
    "SandboxInfoService",
    "SandboxList",
    "SandboxState",
    "Service",
    "ServiceEnvironmentType0",
    "ServiceLabelsType0",
    "StopFailure",
    "StopRequest",
    "StopResult",
    "WriteRequest",
    "WriteRequestEncoding",
    "WriteResponse",
)
