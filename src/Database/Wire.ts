/**
 * A connection to a Postgres engine in this process: `pg` writes the protocol as into a socket and the engine answers.
 *
 * @since 0.1.0
 */
import { Duplex } from "node:stream"

/**
 * @since 0.1.0
 * @category models
 */
export interface Engine {
  /** Runs whole messages; `answer` gets each piece of the answer, in order and to keep, before the promise ends. */
  readonly run: (messages: Uint8Array, answer: (bytes: Uint8Array) => void) => Promise<void>
}

/**
 * The engine cannot serve this connection; `code` is a SQLSTATE.
 *
 * @since 0.1.0
 * @category errors
 */
export class EngineGone extends Error {
  override readonly name = "EngineGone"
  readonly code: string
  constructor(code: string, message: string) {
    super(message)
    this.code = code
  }
}

/**
 * Gives a `connect` for `pg.Pool`'s `stream`. The engine has one session, so there is one connection at a time: a second
 * one is refused with SQLSTATE 53300; after the first has closed, rolled back and forgotten its settings, another may
 * follow. The event loop turns before each batch, however many are waiting.
 *
 * A rejection of the engine destroys the connection with that error, and nothing that the engine said in that batch
 * gets out. `COPY … FROM STDIN` is not possible: it asks for more input in the middle of a batch.
 *
 * @since 0.1.0
 * @category constructors
 */
export const connector = (engine: Engine): (() => Duplex) => {
  let isTaken = false
  return () => {
    if (isTaken) return new Wire(engineWithoutRoom, () => Promise.resolve())
    isTaken = true
    return new Wire(engine, async () => {
      await engine.run(reset, () => {}).catch(() => {})
      isTaken = false
    })
  }
}

const engineWithoutRoom: Engine = {
  run: () => Promise.reject(new EngineGone("53300", "The embedded database has one connection, and it is taken."))
}

class Wire extends Duplex {
  readonly #engine: Engine
  readonly #release: () => Promise<void>
  #received: Buffer = Buffer.alloc(0)
  #isStarted = false

  constructor(engine: Engine, release: () => Promise<void>) {
    super()
    this.#engine = engine
    this.#release = release
  }

  // what `pg` asks of a socket besides being a stream

  connect() {
    process.nextTick(() => this.emit("connect"))
    return this
  }
  setNoDelay() {
    return this
  }
  setKeepAlive() {
    return this
  }
  ref() {
    return this
  }
  unref() {
    return this
  }

  override _read() {}

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: (error?: Error) => void) {
    this.#receive([chunk]).then(() => done(), done)
  }

  override _writev(chunks: Array<{ chunk: Buffer; encoding: BufferEncoding }>, done: (error?: Error) => void) {
    this.#receive(chunks.map(({ chunk }) => chunk)).then(() => done(), done)
  }

  override _final(done: (error?: Error) => void) {
    this.push(null)
    done()
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void) {
    void this.#release().then(() => done(error))
  }

  async #receive(chunks: ReadonlyArray<Buffer>) {
    this.#received = Buffer.concat([this.#received, ...chunks])
    const end = this.#isStarted ? endOfLastBatch(this.#received) : endOfStartup(this.#received)
    if (end === 0) return
    const batch = this.#received.subarray(0, end)
    this.#received = this.#received.subarray(end)

    await new Promise((resolve) => setImmediate(resolve))
    if (this.destroyed) return
    const answer: Array<Uint8Array> = []
    await this.#engine.run(batch, (bytes) => answer.push(bytes))
    // only after an await: what is pushed while `write` is on the stack makes `pg` lose its next write
    this.push(Buffer.concat(answer))
    this.#isStarted = true
  }
}

const code = (letter: string) => letter.charCodeAt(0)

/** After these the engine answers, so that a batch may end there; what follows waits for its own. */
const answered = new Set([code("Q"), code("S"), code("H")])

/** A message is a letter and a length that counts itself. Zero when no batch is whole yet. */
const endOfLastBatch = (bytes: Buffer) => {
  let end = 0
  for (let start = 0; start + 5 <= bytes.length;) {
    const next = start + 1 + bytes.readUInt32BE(start + 1)
    if (next > bytes.length) break
    if (answered.has(bytes.readUInt8(start))) end = next
    start = next
  }
  return end
}

/** The first message has no letter. */
const endOfStartup = (bytes: Buffer) => {
  const length = bytes.length < 4 ? 0 : bytes.readUInt32BE(0)
  return length <= bytes.length ? length : 0
}

const query = (text: string) => {
  const message = Buffer.alloc(1 + 4 + Buffer.byteLength(text) + 1)
  message.writeUInt8(code("Q"), 0)
  message.writeUInt32BE(message.length - 1, 1)
  message.write(text, 5)
  return message
}

const reset = Buffer.concat([query("ROLLBACK"), query("DISCARD ALL")])
