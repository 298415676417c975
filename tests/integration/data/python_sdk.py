"""A stock OpenTelemetry SDK for Python: one producer span, one consumer span, exported over OTLP/HTTP.

Prints the trace id. OTEL_EXPORTER_OTLP_ENDPOINT says where to.
"""

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor


def provider(service):
    made = TracerProvider(resource=Resource.create({"service.name": service}))
    made.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return made


producer, consumer = provider("python-producer"), provider("python-consumer")
message = {
    "messaging.system": "kafka",
    "messaging.destination.name": "python.orders",
    "messaging.destination.partition.id": "0",
    "messaging.kafka.offset": 7,
}
with producer.get_tracer("stock").start_as_current_span(
    "send python.orders",
    kind=trace.SpanKind.PRODUCER,
    attributes={**message, "messaging.operation.type": "send"},
) as span:
    trace_id = span.get_span_context().trace_id
    with consumer.get_tracer("stock").start_as_current_span(
        "process python.orders",
        kind=trace.SpanKind.CONSUMER,
        attributes={
            **message,
            "messaging.operation.type": "process",
            "messaging.consumer.group.name": "python-group",
        },
    ):
        pass
producer.shutdown()
consumer.shutdown()
print(f"{trace_id:032x}")
