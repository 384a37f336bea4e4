"""The adapter's one settings class: environment variables ``IMGR_*``."""

from pathlib import Path
from typing import Annotated, Literal

from obstore import parse_scheme
from obstore.exceptions import BaseError
from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from frontend_api.masks.feathering import FeatherMethod

CommaSeparated = Annotated[tuple[str, ...], NoDecode]


class Settings(BaseSettings):
    """What an operator can set. Validated once, at start."""

    model_config = SettingsConfigDict(env_prefix="IMGR_", extra="ignore", frozen=True)

    triton_url: str = Field(
        "127.0.0.1:8001",
        description="host:port of Triton's HTTP endpoint; several Tritons separated by commas, or by one name for all",
    )
    triton_timeout_seconds: float = Field(
        60.0, gt=0, description="longest wait for one inference before the client gets 504"
    )
    triton_hang_seconds: float = Field(
        60.0,
        gt=0,
        description="how long a model may leave all requests unanswered before it counts as hung: not ready, and "
        "`imgr serve` starts its Triton anew",
    )
    triton_shared_memory_bytes: int = Field(
        0,
        ge=0,
        description="memory for embeddings that a Triton on this machine reads, else clicks carry them; "
        "`imgr serve` takes 64 MiB for its own",
    )
    model_poll_seconds: float = Field(1.0, gt=0, description="how often Triton is asked which model versions are ready")

    model_patience_seconds: float = Field(
        10.0,
        ge=0,
        description="how long clicks wait when the model is lost, in a swap or as Triton dies, before they get 503",
    )
    model_handover_seconds: float = Field(
        30.0,
        ge=0,
        description="how long a new model may wait until the images in use are encoded; the old one serves meanwhile",
    )
    model_repository: Path = Field(Path("model_repository"), description="the folder that Triton serves models from")
    sam_checkpoint_path: Path | None = Field(
        None,
        validation_alias="SAM_CHECKPOINT_PATH",
        description="the checkpoint that `imgr serve` exports, if need be, and serves",
    )

    store: str = Field(
        default_factory=(Path.cwd() / "data" / "store").as_uri,
        description="where uploads and embeddings live: file:///…, memory:///, s3://bucket/prefix, gs://…, az://…",
    )
    # 95 years at most: added to now and taken from it, it gives dates.
    image_ttl_seconds: int = Field(24 * 3600, gt=0, le=3_000_000_000, description="age at which an upload expires")

    max_upload_bytes: int = Field(32 * 2**20, gt=0, description="largest upload in bytes")
    max_image_pixels: int = Field(
        50_000_000,
        gt=0,
        le=178_956_970,
        description="largest image in pixels; Pillow itself refuses more than the most",
    )
    max_points: int = Field(512, gt=0, description="most points in one prompt")

    max_connections: int = Field(1000, gt=0, description="connections open at once; further ones get 503")
    max_connections_by_address: int = Field(
        500, gt=0, description="connections open at once from one address, such as that of a proxy"
    )
    head_timeout_seconds: float = Field(20.0, gt=0, description="longest time for a request's head to arrive, else 408")
    body_least_rate: int = Field(
        1000, ge=0, description="bytes per second, over 10 s, at which a request's body must arrive, else 408"
    )
    write_timeout_seconds: float = Field(
        30.0, gt=0, description="longest time for a client to take what is on its way, before it is cut off"
    )
    idle_timeout_seconds: float = Field(5.0, gt=0, description="how long a connection may wait for its next request")

    pixel_cache_bytes: int = Field(256 * 2**20, ge=0, description="memory for decoded images")
    embedding_cache_bytes: int = Field(128 * 2**20, ge=0, description="memory for embeddings, 4 MiB each")
    max_concurrent_clicks: int = Field(64, gt=0, description="clicks admitted at once; further ones get 503")
    click_timeout_seconds: float = Field(
        60.0, gt=0, description="longest time that a click may take before its client gets 504"
    )
    answer_buffer_bytes: int = Field(
        512 * 2**20,
        gt=0,
        description="answers that clients have not taken yet, in bytes; a click whose answer does not fit gets 503",
    )
    max_concurrent_uploads: int = Field(8, gt=0, description="uploads admitted at once; further ones get 503")
    max_concurrent_searches: int = Field(
        2, gt=0, description="photos searched for everything at once; further ones get 503"
    )
    search_concurrency: int = Field(
        2, gt=0, description="points asked at once by searches, all together; on a GPU some 32 fill it"
    )
    max_grid: int = Field(32, gt=0, le=64, description="most points to a side of a search's grid")
    encode_concurrency: int = Field(1, gt=0, description="images sent to the encoder at once")
    max_queued_encodes: int = Field(
        64,
        gt=0,
        description="uploads waiting to be encoded in the background; others are encoded on first click",
    )
    worker_threads: int | None = Field(
        None, gt=0, description="threads that decode images and render masks; default: one for each core"
    )

    feather_method: FeatherMethod = Field(
        FeatherMethod.EASE_OUT_POWER, description="profile of the soft edge when a request names none"
    )
    feather_width: float = Field(10.0, ge=0, le=256, description="width of the soft edge in pixels")

    cors_origins: CommaSeparated = Field(
        ("http://localhost:5173", "http://127.0.0.1:5173"),
        description="origins allowed to call from a browser, separated by commas",
    )
    api_keys: CommaSeparated = Field(
        (), description="keys accepted in X-API-Key, separated by commas; empty: no key is asked for"
    )
    log_format: Literal["console", "json"] = Field("console", description="console or json")

    @property
    def names_triton(self) -> bool:
        """Whether a Triton is named, so that `imgr serve` starts none of its own."""
        return "triton_url" in self.model_fields_set

    @field_validator("sam_checkpoint_path", mode="before")
    @classmethod
    def _unset(cls, value: object) -> object:
        return value or None

    @field_validator("cors_origins", "api_keys", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("cors_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            scheme, _, host = origin.partition("://")
            if origin != "*" and (not scheme or not host or "/" in host):
                raise ValueError(
                    f"expected * or origins as browsers name them, such as https://example.com, got {origin!r}"
                )
        return value

    @field_validator("api_keys")
    @classmethod
    def _sendable(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(key.isascii() for key in value):
            raise ValueError("expected keys of ASCII characters: a header carries no others reliably")
        return value

    @field_validator("store")
    @classmethod
    def _store(cls, value: str) -> str:
        try:
            kind = parse_scheme(value)
        except (BaseError, ValueError):
            kind = None
        # Of a file: URL without slashes, folder and host can't be told apart.
        if kind not in {"memory", "s3", "gcs", "azure"} and not (kind == "local" and value.startswith("file:///")):
            raise ValueError(f"expected a URL such as file:///srv/imgr or s3://bucket/prefix, got {value!r}")
        return value

    @field_validator("triton_url")
    @classmethod
    def _hosts_and_ports(cls, value: str) -> str:
        urls = [url.strip() for url in value.split(",")]
        for url in urls:
            host, _, port = url.rpartition(":")
            if not host or not port.isdigit() or "/" in url:
                raise ValueError(f"expected host:port without a scheme, such as 127.0.0.1:8001, got {url!r}")
        return ",".join(urls)
