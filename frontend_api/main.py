"""The adapter alone, for ``uvicorn frontend_api.main:app --http frontend_api.main:protocol``.

Settings come from the environment.
"""

from frontend_api.allocator import keep_freed_memory
from frontend_api.application import create_app
from frontend_api.connections import bounded_protocol, raise_file_limit
from frontend_api.logs import configure_logs
from frontend_api.settings import Settings

keep_freed_memory()
raise_file_limit()
_settings = Settings()
configure_logs(_settings.log_format)
app = create_app(_settings)
protocol = bounded_protocol(_settings)
