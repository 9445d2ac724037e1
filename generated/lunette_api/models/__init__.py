"""Contains all the data models used in inputs/outputs"""

from .archive_request import ArchiveRequest
from .capabilities import Capabilities
from .commit_request import CommitRequest
from .create_sandbox import CreateSandbox
from .create_sandbox_form import CreateSandboxForm
from .digest_algorithm import DigestAlgorithm
from .exec_request import ExecRequest
from .exec_request_env import ExecRequestEnv
from .exec_request_input_encoding import ExecRequestInputEncoding
from .exec_response import ExecResponse
from .extend_request import ExtendRequest
from .file_content import FileContent
from .file_content_encoding import FileContentEncoding
from .file_info import FileInfo
from .file_info_type import FileInfoType
from .file_list import FileList
from .health import Health
from .image import Image
from .image_list import ImageList
from .image_state import ImageState
from .input_accepted import InputAccepted
from .lifetimes import Lifetimes
from .limits import Limits
from .move_request import MoveRequest
from .output_event import OutputEvent
from .output_event_event import OutputEventEvent
from .problem import Problem
from .process import Process
from .process_list import ProcessList
from .process_state import ProcessState
from .progress import Progress
from .progress_stage import ProgressStage
from .sandbox_created import SandboxCreated
from .sandbox_info import SandboxInfo
from .sandbox_info_labels import SandboxInfoLabels
from .sandbox_info_service import SandboxInfoService
from .sandbox_list import SandboxList
from .sandbox_state import SandboxState
from .sandbox_stats import SandboxStats
from .service import Service
from .service_deploy import ServiceDeploy
from .service_deploy_resources import ServiceDeployResources
from .service_deploy_resources_limits import ServiceDeployResourcesLimits
from .service_environment_type_0 import ServiceEnvironmentType0
from .service_extra_hosts_type_1 import ServiceExtraHostsType1
from .service_labels_type_0 import ServiceLabelsType0
from .service_storage_opt import ServiceStorageOpt
from .service_ulimits import ServiceUlimits
from .service_ulimits_additional_property_type_1 import (
    ServiceUlimitsAdditionalPropertyType1,
)
from .signal_request import SignalRequest
from .start_request import StartRequest
from .start_request_env import StartRequestEnv
from .start_request_input_encoding import StartRequestInputEncoding
from .stop_failure import StopFailure
from .stop_request import StopRequest
from .stop_result import StopResult
from .terminal_size import TerminalSize
from .upload import Upload
from .upload_request import UploadRequest
from .upload_request_format import UploadRequestFormat
from .upload_request_if_exists import UploadRequestIfExists
from .write_request import WriteRequest
from .write_request_encoding import WriteRequestEncoding
from .write_response import WriteResponse

__all__ = (
    "ArchiveRequest",
    "Capabilities",
    "CommitRequest",
    "CreateSandbox",
    "CreateSandboxForm",
    "DigestAlgorithm",
    "ExecRequest",
    "ExecRequestEnv",
    "ExecRequestInputEncoding",
    "ExecResponse",
    "ExtendRequest",
    "FileContent",
    "FileContentEncoding",
    "FileInfo",
    "FileInfoType",
    "FileList",
    "Health",
    "Image",
    "ImageList",
    "ImageState",
    "InputAccepted",
    "Lifetimes",
    "Limits",
    "MoveRequest",
    "OutputEvent",
    "OutputEventEvent",
    "Problem",
    "Process",
    "ProcessList",
    "ProcessState",
    "Progress",
    "ProgressStage",
    "SandboxCreated",
    "SandboxInfo",
    "SandboxInfoLabels",
    "SandboxInfoService",
    "SandboxList",
    "SandboxState",
    "SandboxStats",
    "Service",
    "ServiceDeploy",
    "ServiceDeployResources",
    "ServiceDeployResourcesLimits",
    "ServiceEnvironmentType0",
    "ServiceExtraHostsType1",
    "ServiceLabelsType0",
    "ServiceStorageOpt",
    "ServiceUlimits",
    "ServiceUlimitsAdditionalPropertyType1",
    "SignalRequest",
    "StartRequest",
    "StartRequestEnv",
    "StartRequestInputEncoding",
    "StopFailure",
    "StopRequest",
    "StopResult",
    "TerminalSize",
    "Upload",
    "UploadRequest",
    "UploadRequestFormat",
    "UploadRequestIfExists",
    "WriteRequest",
    "WriteRequestEncoding",
    "WriteResponse",
)
