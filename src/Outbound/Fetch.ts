/**
 * `Outbound` in the shape of `fetch`, for libraries that ask for one.
 *
 * @since 0.1.0
 */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as FiberId from "effect/FiberId"
import * as FiberSet from "effect/FiberSet"
import type * as Scope from "effect/Scope"
import type { OutboundRefused } from "../CredentialsError.ts"
import type { Outgoing, Received } from "./Exchange.ts"
import { OutboundFailure } from "./Failure.ts"

/**
 * @since 0.1.0
 * @category models
 */
export type Fetch = (url: string | URL, init?: RequestInit) => Promise<Response>

type CallError = OutboundRefused | OutboundFailure

/** One call: `use` has the answer until it ends, and the call's time goes on while it does. */
type Call = (
  request: Outgoing,
  use: (received: Received) => Effect.Effect<void, OutboundFailure>
) => Effect.Effect<void, CallError>

/** RFC 9110: these have no body, and `Response` takes none. */
const isWithoutBody = (status: number) => status === 204 || status === 205 || status === 304

const isRedirect = (status: number) => status >= 300 && status <= 399

/** Where the body comes out, and where it goes in. */
const channel = (cancel: () => void) => {
  let input: ReadableStreamDefaultController<Uint8Array> | undefined
  const output = new ReadableStream<Uint8Array>({ start: (controller) => void (input = controller), cancel })
  return { output, input }
}

/** Hands out the answer, then its body as it comes, read or not: it is bounded. */
const relay = Effect.fnUntraced(function* (
  received: Received,
  { input, output }: ReturnType<typeof channel>,
  hand: (response: Response) => void
) {
  const { location, ...others } = received.headers
  const headers = location === undefined || isRedirect(received.status) ? others : { ...others, location }
  if (received.status > 599) return yield* new OutboundFailure({ sent: true, reason: "broken_off" })
  hand(new Response(isWithoutBody(received.status) ? null : output, { status: received.status, headers }))
  for (let piece = yield* received.next; piece !== undefined; piece = yield* received.next) input?.enqueue(piece)
  input?.close()
})

/**
 * A `fetch` whose calls are made by `call`, until the scope closes: then what is under way ends. An aborted signal and a
 * cancelled body close the connection at once.
 *
 * A call that fails rejects with `OutboundRefused` or `OutboundFailure` itself, and with the signal's reason when aborted;
 * one that fails later fails the body with it. A redirect that was not followed has lost its `location`: whoever follows
 * redirects by himself gets nowhere with it, which is why `init.redirect` changes nothing.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = (call: Call): Effect.Effect<Fetch, never, Scope.Scope> =>
  Effect.map(FiberSet.makeRuntime<never>(), (run) => async (url, init) => {
    const signal = init?.signal ?? undefined
    // only to read `init`: the URL is judged elsewhere, and an error here would quote it
    const asked = new Request("https://unused.invalid", init)
    const request: Outgoing = {
      method: asked.method,
      url: String(url),
      headers: Object.fromEntries(asked.headers),
      body: asked.body === null ? null : new Uint8Array(await asked.arrayBuffer())
    }
    signal?.throwIfAborted()
    return new Promise((resolve, reject) => {
      const stop = () => fiber.unsafeInterruptAsFork(FiberId.none)
      const body = channel(stop)
      const fiber = run(Effect.exit(call(request, (received) => relay(received, body, resolve))))
      signal?.addEventListener("abort", stop)
      fiber.addObserver((ended) => {
        const exit = Exit.flatten(ended)
        signal?.removeEventListener("abort", stop)
        if (Exit.isSuccess(exit)) return
        const why = signal?.aborted === true ? signal.reason : Cause.squash(exit.cause)
        reject(why)
        body.input?.error(why)
      })
    })
  })
