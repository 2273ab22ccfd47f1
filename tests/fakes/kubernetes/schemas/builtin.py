"""Schemas of the built-in kinds, as far as the tests write them."""

from tests.fakes.kubernetes.schemas.schema import ANY, METADATA, OPEN, TEXT, TRUTH, WHOLE, Schema, keyed, listed, struct

SERVICE = struct(
    spec=struct(
        ports=keyed(
            struct(name=TEXT, protocol=TEXT, appProtocol=TEXT, port=WHOLE, targetPort=ANY, nodePort=WHOLE),
            port=None,
            protocol="TCP",
        ),
        selector=Schema("object", values=TEXT, atomic=True),
        clusterIP=TEXT,
        clusterIPs=listed(TEXT),
        type=TEXT,
        externalIPs=listed(TEXT),
        sessionAffinity=TEXT,
        sessionAffinityConfig=OPEN,
        loadBalancerIP=TEXT,
        loadBalancerSourceRanges=listed(TEXT),
        loadBalancerClass=TEXT,
        externalName=TEXT,
        externalTrafficPolicy=TEXT,
        internalTrafficPolicy=TEXT,
        healthCheckNodePort=WHOLE,
        publishNotReadyAddresses=TRUTH,
        ipFamilies=listed(TEXT),
        ipFamilyPolicy=TEXT,
        allocateLoadBalancerNodePorts=TRUTH,
        trafficDistribution=TEXT,
    ),
    status=struct(
        loadBalancer=Schema("object"),
        conditions=keyed(OPEN, type=None),
    ),
)

_CONTAINER = Schema(
    "object",
    fields={
        "ports": keyed(OPEN, containerPort=None, protocol="TCP"),
        "env": keyed(OPEN, name=None),
        "volumeMounts": keyed(OPEN, mountPath=None),
    },
    values=ANY,
)
_POD_SPEC = Schema(
    "object",
    fields={
        "containers": keyed(_CONTAINER, name=None),
        "initContainers": keyed(_CONTAINER, name=None),
        "volumes": keyed(OPEN, name=None),
    },
    values=ANY,
)
_CONDITIONS = Schema("object", fields={"conditions": keyed(OPEN, type=None)}, values=ANY)

POD = struct(spec=_POD_SPEC, status=_CONDITIONS)

DEPLOYMENT = struct(
    spec=struct(
        replicas=WHOLE,
        selector=Schema("object", atomic=True),
        template=struct(metadata=METADATA, spec=_POD_SPEC),
        strategy=OPEN,
        minReadySeconds=WHOLE,
        revisionHistoryLimit=WHOLE,
        paused=TRUTH,
        progressDeadlineSeconds=WHOLE,
    ),
    status=_CONDITIONS,
)

ENDPOINT_SLICE = struct(addressType=TEXT, endpoints=listed(OPEN), ports=listed(OPEN))

LEASE = struct(
    spec=struct(
        holderIdentity=TEXT,
        leaseDurationSeconds=WHOLE,
        acquireTime=TEXT,
        renewTime=TEXT,
        leaseTransitions=WHOLE,
        strategy=TEXT,
        preferredHolder=TEXT,
    )
)
