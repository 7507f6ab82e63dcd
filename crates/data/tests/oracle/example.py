"""tf.train.Example by protobuf's own runtime, without TensorFlow."""

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory


def example_class():
    """tf.train.Example from its description (tensorflow/core/example/*.proto)."""
    file = descriptor_pb2.FileDescriptorProto(name="example.proto", package="tensorflow", syntax="proto3")
    kinds = descriptor_pb2.FieldDescriptorProto

    def message(name, *fields):
        described = file.message_type.add(name=name)
        for number, (field, kind, repeated, of) in enumerate(fields, 1):
            label = kinds.LABEL_REPEATED if repeated else kinds.LABEL_OPTIONAL
            described.field.add(name=field, number=number, label=label, type=kind, type_name=of)
        return described

    message("BytesList", ("value", kinds.TYPE_BYTES, True, None))
    message("FloatList", ("value", kinds.TYPE_FLOAT, True, None))
    message("Int64List", ("value", kinds.TYPE_INT64, True, None))
    feature = message(
        "Feature", *((n, kinds.TYPE_MESSAGE, False, f".tensorflow.{t}") for n, t in
                     (("bytes_list", "BytesList"), ("float_list", "FloatList"), ("int64_list", "Int64List"))))
    feature.oneof_decl.add(name="kind")
    for field in feature.field:
        field.oneof_index = 0
    features = message("Features", ("feature", kinds.TYPE_MESSAGE, True, ".tensorflow.Features.FeatureEntry"))
    entry = features.nested_type.add(name="FeatureEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, label=1, type=kinds.TYPE_STRING)
    entry.field.add(name="value", number=2, label=1, type=kinds.TYPE_MESSAGE, type_name=".tensorflow.Feature")
    message("Example", ("features", kinds.TYPE_MESSAGE, False, ".tensorflow.Features"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example"))
