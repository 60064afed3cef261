/**
 * The connections to a Postgres server that a process uses by turns: who waits for one waits in order, for as long as it
 * goes on, and nobody gets one that cannot be relied on.
 *
 * @since 0.1.0
 */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import type * as Scope from "effect/Scope"
import { Socket } from "node:net"
import * as Pg from "pg"
import * as PreparedStatements from "./PreparedStatements.ts"

/** What `Pg.Pool.connect` answers by. */
type Taken = (
  error: Error | undefined,
  client: Pg.PoolClient | undefined,
  release: (unusable?: Error | boolean) => void
) => void

interface Waiter {
  readonly taken: Taken
  /** The looks that there had been when it came. */
  readonly since: number
}

/** How often whoever waits is looked at until nothing has gone on for too long. */
const looks = 10

/**
 * So many are opened at a time: to open one costs a server more than most turns at one take, and a burst that opened all
 * would keep a busy machine from answering any of them.
 */
const opensAtOnce = 2

/** The server has answered all that it was asked, and waits. */
const isReady = (client: Pg.ClientBase) => "readyForQuery" in client && client.readyForQuery === true

/**
 * `pg`'s pool gives up whoever has waited for so long for a turn, even where turns come one after the other and this
 * process has much to do. This one asks it for no more connections than there are, and gives a waiter up when for the
 * whole time no turn has begun or ended. Time is counted in looks, between which the process reads what has come.
 */
class TurnTakingPool extends Pg.Pool {
  readonly #waiting: Array<Waiter> = []
  readonly #startLooking: () => void
  #free: number
  /** Turns that have not begun: at a connection that is there, or is opened for it. */
  #asked = 0
  #looked = 0
  /** How often a turn has begun or ended well, and the look before which one last did. */
  #moves = 0
  #movedAt = 0
  #isLooking = false

  constructor(config: Pg.PoolConfig & { readonly max: number }, startLooking: (look: () => boolean) => void) {
    super(config)
    this.#free = config.max
    this.#startLooking = () => startLooking(() => this.#look())
  }

  override connect(): Promise<Pg.PoolClient>
  override connect(taken: Taken): void
  override connect(taken?: Taken): Promise<Pg.PoolClient> | void {
    if (taken === undefined) {
      return new Promise((resolve, reject) => {
        this.connect((error, client) => (client === undefined ? reject(error) : resolve(client)))
      })
    }
    if (this.#mayTake()) return this.#take(taken)
    this.#waiting.push({ taken, since: this.#looked })
    if (this.#isLooking) return undefined
    this.#isLooking = true
    return this.#startLooking()
  }

  #mayTake(): boolean {
    return this.#free > 0 && this.#asked < this.idleCount + opensAtOnce
  }

  #take(taken: Taken): void {
    this.#free--
    this.#asked++
    const moves = this.#moves
    super.connect((error, client, release) => {
      this.#asked--
      if (error !== undefined || client === undefined) {
        this.#free++
        taken(error, client, release)
        // nothing has gone on: they would wait as long once more
        if (this.#moves === moves) for (const waiter of this.#waiting.splice(0)) waiter.taken(error, client, release)
        return this.#serve()
      }
      this.#moved()
      const ended = (unusable?: Error | boolean) => {
        if (isReady(client)) this.#moved()
        this.#free++
        release(unusable)
        this.#serve()
      }
      client.release = ended
      taken(error, client, ended)
      this.#serve()
    })
  }

  #moved(): void {
    this.#moves++
    this.#movedAt = this.#looked
  }

  #serve(): void {
    while (this.#mayTake()) {
      const waiter = this.#waiting.shift()
      if (waiter === undefined) return
      this.#take(waiter.taken)
    }
  }

  /** Whether to look again. */
  #look(): boolean {
    this.#looked++
    while (this.#waiting[0] !== undefined) {
      if (this.#looked - Math.max(this.#waiting[0].since, this.#movedAt) <= looks) break
      this.#waiting.shift()?.taken(new Error("timeout exceeded when trying to connect"), undefined, () => {})
    }
    this.#isLooking = this.#waiting.length > 0
    return this.#isLooking
  }
}

/** Ends a socket on which nothing is heard for too long, unless it rests; not before this process has read what came. */
const endWhenSilent = (socket: Socket, after: Duration.Duration, rests: () => boolean) => {
  socket.setTimeout(Duration.toMillis(after))
  // each time: given to `setTimeout` it would be heard once, by a connection at rest
  socket.on("timeout", () => {
    const heard = socket.bytesRead
    setImmediate(() => {
      if (socket.bytesRead > heard || rests()) return
      socket.destroy(Object.assign(new Error("No answer"), { code: "ETIMEDOUT" }))
    })
  })
}

/**
 * A pool for as long as the scope lives.
 *
 * - Two are opened at a time. Whoever asks for one is given up when a server that is to make one refuses, or is silent for
 *   `connectWithin`, and no turn has begun or ended well meanwhile; and when for so long none has.
 * - A connection is given up whose server is silent for longer than `answerWithin`, and one that comes back from a turn
 *   before the server has answered it.
 *
 * @since 0.1.0
 * @category constructors
 */
export const make = Effect.fnUntraced(function* (
  config: Pg.PoolConfig & { readonly max: number },
  times: { readonly connectWithin: Duration.Duration; readonly answerWithin: Duration.Duration }
): Effect.fn.Return<Pg.Pool, never, Scope.Scope> {
  const runFork = yield* FiberSet.makeRuntime<never>()
  const answerMillis = Duration.toMillis(times.answerWithin)
  const pause = Duration.times(times.connectWithin, 1 / looks)
  const startLooking = (look: () => boolean) => {
    const again: Effect.Effect<void> = Effect.suspend(() => (look() ? Effect.delay(again, pause) : Effect.void))
    runFork(Effect.delay(again, pause))
  }
  const stream = () => {
    const socket = new Socket()
    // a server that has begun to answer may be slow at its encryption
    endWhenSilent(socket, times.connectWithin, () => socket.bytesRead > 0)
    return socket
  }
  const pool = yield* Effect.acquireRelease(
    Effect.sync(
      () => new TurnTakingPool({ ...config, stream, connectionTimeoutMillis: 2 * answerMillis }, startLooking)
    ),
    (pool) => Effect.promise(() => pool.end()).pipe(Effect.interruptible, Effect.timeoutOption("2 seconds"))
  )
  pool.on("error", () => {})
  pool.on("connect", (client) => {
    // without a process id to name, @effect/sql-pg does not try to cancel: the cancellation may come late, and end
    // what the next one asks of that session
    Object.assign(client, { processID: undefined })
    PreparedStatements.keep(client)
    const socket = client instanceof Pg.Client ? client.connection.stream : undefined
    if (!(socket instanceof Socket)) return
    socket.removeAllListeners("timeout")
    endWhenSilent(socket, times.answerWithin, () => isReady(client))
  })
  pool.on("release", (_, client) => {
    if (client instanceof Pg.Client && !isReady(client)) void client.end()
  })
  return pool
})
