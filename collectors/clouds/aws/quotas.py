"""Rate limits of Bedrock's models, from Service Quotas.

https://docs.aws.amazon.com/servicequotas/2019-06-24/apireference/API_GetServiceQuota.html. AWS names a quota in prose
(On-demand model inference tokens per minute for …), so fleet.yaml says which quota belongs to which ModelId.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from collectors.clouds.aws.api import AwsApi, Service
from collectors.clouds.metered.limits import REQUESTS, TOKENS, KeptLimits, RateLimit, allowed
from collectors.errors import ExpositionError, UnexpectedStatus

SERVICE_QUOTAS = Service("servicequotas", "servicequotas", "servicequotas", "ServiceQuotasV20190624", "1.1")
_ACTION = "GetServiceQuota"
_TYPES = {"tokens per minute": TOKENS, "requests per minute": REQUESTS}


class AwsQuotas(KeptLimits):
    """Limits by ModelId. `codes` has the codes of each model's quotas, such as L-254CACF4."""

    def __init__(self, api: AwsApi, codes: Mapping[str, Sequence[str]], wall: Callable[[], float] = time.time) -> None:
        super().__init__(wall)
        self._api, self._codes = api, codes

    async def _asked(self) -> list[RateLimit]:
        return [await self._limit(model, code) for model, codes in self._codes.items() for code in codes]

    async def _limit(self, model: str, code: str) -> RateLimit:
        found = await self._api.ask(_ACTION, {"ServiceCode": "bedrock", "QuotaCode": code})
        quota = found.get("Quota")
        name = quota.get("QuotaName") if isinstance(quota, dict) else None
        if not isinstance(quota, dict) or not isinstance(name, str):
            raise ExpositionError(f"{_ACTION}: the answer has no quota", 0)
        kind = next((kind for words, kind in _TYPES.items() if words in name.lower()), None)
        if kind is None:
            raise UnexpectedStatus(
                f"{_ACTION}: {code} is no quota of tokens or requests per minute; correct aws.quotas"
            )
        try:
            return RateLimit(model, kind, allowed(quota.get("Value")))
        except ValueError as error:
            raise ExpositionError(f"{_ACTION}: {error}", 0) from None
