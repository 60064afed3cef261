/**
 * Errors as they stand on the wire: `{"_tag", "message", "retryable", …fields}`, with the status of their class.
 *
 * @since 0.1.0
 */
import * as HttpApiSchema from "@effect/platform/HttpApiSchema"
import * as Schema from "effect/Schema"

interface ErrorClass<Self, Tag extends string, Fields extends Schema.Struct.Fields> extends Schema.Schema<
  Self,
  Schema.Struct.Encoded<Fields>
> {
  readonly _tag: Tag
  readonly fields: Fields
}

/**
 * What every error has on the wire, beside its own fields.
 *
 * @since 0.1.0
 * @category models
 */
export interface Told {
  readonly message: string
  readonly retryable: boolean
}

const made = new WeakMap<object, unknown>()

/**
 * The wire schema of an error class: its fields and tag, with `message` and `retryable`, which the class computes. What
 * was decoded is an instance of the class. One class has one schema, however often it is asked for.
 *
 * @since 0.1.0
 * @category constructors
 */
export const wire = <Self extends Told, Tag extends string, Fields extends Schema.Struct.Fields>(
  error: ErrorClass<Self, Tag, Fields>
): Schema.Schema<Self, Schema.Struct.Encoded<Fields> & Told> => {
  type Wire = Schema.Schema<Self, Schema.Struct.Encoded<Fields> & Told>
  const existing = made.get(error)
  if (existing !== undefined) return existing as Wire
  const { _tag, ...facts } = error.fields
  const from = Schema.Struct({
    _tag: Schema.Literal(error._tag),
    message: Schema.String,
    retryable: Schema.Boolean,
    ...facts
  }).annotations({ identifier: error._tag })
  const schema = Schema.transform(from as unknown as Schema.Schema<object>, error as Schema.Schema<Self, object>, {
    strict: false,
    decode: ({ message: _message, retryable: _retryable, ...encoded }: Partial<Told>) => encoded,
    encode: (encoded: object, instance: Self) => ({
      ...encoded,
      message: instance.message,
      retryable: instance.retryable
    })
  }).annotations(HttpApiSchema.annotations({ status: HttpApiSchema.getStatusError(error) }))
  made.set(error, schema)
  return schema as unknown as Wire
}

/**
 * A defect of the service. What it was is in the service's log alone.
 *
 * @since 0.1.0
 * @category errors
 */
export class InternalError extends Schema.TaggedError<InternalError>("effect-credentials/api/InternalError")(
  "InternalError",
  {},
  HttpApiSchema.annotations({ status: 500 })
) {
  readonly retryable = false
  override get message() {
    return "The service failed in a way that it should not: its log says more."
  }
}

/**
 * The service is starting, or is about to stop.
 *
 * @since 0.1.0
 * @category errors
 */
export class ServiceUnavailable extends Schema.TaggedError<ServiceUnavailable>(
  "effect-credentials/api/ServiceUnavailable"
)(
  "ServiceUnavailable",
  { phase: Schema.Literal("starting", "stopping"), retryAfterSeconds: Schema.Number },
  HttpApiSchema.annotations({ status: 503 })
) {
  readonly retryable = true
  override get message() {
    return `The service is ${this.phase}: try again in ${this.retryAfterSeconds} s.`
  }
}
