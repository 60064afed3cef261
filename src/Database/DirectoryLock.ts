/**
 * Exclusive ownership of a directory. The kernel keeps it, so any death of the owner frees it: nothing goes stale, and
 * of several processes that want a dead owner's directory exactly one gets it.
 *
 * @since 0.1.0
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Crypto from "node:crypto"
import * as Fs from "node:fs"
import * as Net from "node:net"
import * as Path from "node:path"

/**
 * Another process (or another layer of this one) works in the directory. Waiting helps only if that one ends.
 *
 * @since 0.1.0
 * @category errors
 */
export class DirectoryInUse extends Data.TaggedError("DirectoryInUse")<{ readonly directory: string }> {
  override get message() {
    return `${this.directory} is in use by another process: stop that one, or choose another directory.`
  }
}

/**
 * The directory cannot be made, or holds no lock: `code` is the system's, such as `EACCES` or `ENOTDIR`.
 *
 * @since 0.1.0
 * @category errors
 */
export class DirectoryUnusable extends Data.TaggedError("DirectoryUnusable")<{
  readonly directory: string
  readonly code: string
}> {
  override get message() {
    return `${this.directory} cannot be used (${this.code}): it must be a directory that this user may write to, on a local disk.`
  }
}

/**
 * Makes the directory when it is missing (mode 0700, its parents too) and owns it until the scope ends. Fails at once,
 * without waiting, with `DirectoryInUse` or `DirectoryUnusable`.
 *
 * On Linux the lock is a pair: an abstract socket named by the directory's device and inode, which nobody can delete,
 * and a socket in the directory, which containers with a network of their own see as well. Windows has a named pipe,
 * the BSDs and macOS a locked file. None of them reaches across machines that share a network file system.
 *
 * @since 0.1.0
 * @category constructors
 */
export const acquire = (directory: string): Effect.Effect<void, DirectoryInUse | DirectoryUnusable, Scope.Scope> =>
  Effect.zipRight(
    attempt(() => makeDirectory(directory)),
    lock(directory)
  ).pipe(
    Effect.mapError((refusal) =>
      refusal === "Taken"
        ? new DirectoryInUse({ directory })
        : new DirectoryUnusable({ directory, code: refusal.code ?? refusal.message })
    )
  )

type Refusal = "Taken" | NodeJS.ErrnoException

const attempt = <A>(evaluate: () => A) =>
  Effect.try({ try: evaluate, catch: (error) => error as NodeJS.ErrnoException })

const attemptTaking = <A>(takenCode: string, evaluate: () => A) =>
  Effect.mapError(attempt(evaluate), (error): Refusal => (error.code === takenCode ? "Taken" : error))

/** A folder is only as durable as its entry in its parent: each new one is flushed there. */
const makeDirectory = (directory: string) => {
  const path = Path.resolve(directory)
  const first = Fs.mkdirSync(path, { recursive: true, mode: 0o700 })
  if (first === undefined || process.platform === "win32") return
  for (let made = path; made.length >= first.length; made = Path.dirname(made)) {
    const parent = Fs.openSync(Path.dirname(made), "r")
    Fs.fsyncSync(parent)
    Fs.closeSync(parent)
  }
}

/** Binds and listens in one step: whoever finds the name finds it answering. Closed with the scope. */
const listen = (path: string) =>
  Effect.acquireRelease(
    Effect.async<Net.Server, Refusal>((resume) => {
      const server = Net.createServer((socket) => socket.destroy())
      server.once("error", (error: NodeJS.ErrnoException) =>
        resume(Effect.fail(error.code === "EADDRINUSE" ? "Taken" : error))
      )
      server.listen(path, () => resume(Effect.succeed(server.unref())))
    }),
    (server) =>
      Effect.async<void>((resume) => {
        server.close(() => resume(Effect.void))
      })
  )

const lock = (directory: string): Effect.Effect<unknown, Refusal, Scope.Scope> => {
  switch (process.platform) {
    case "linux":
      return Effect.flatMap(abstractSocket(directory), (holds) => socketFile(directory, holds))
    case "win32":
      return namedPipe(directory)
    default:
      return lockedFile(directory)
  }
}

const abstractSocket = (directory: string) =>
  Effect.flatMap(
    attempt(() => Fs.statSync(directory, { bigint: true })),
    ({ dev, ino }) => {
      // filled up to sun_path's 108 bytes: versions of libuv differ in whether they pad a shorter name
      const name = `\0effect-credentials/DirectoryLock/${dev}:${ino}/`.padEnd(108, "-")
      // early releases of Node 20 bind another name, silently: is this one there?
      return Effect.zipRight(listen(name), isAnswered(name))
    }
  )

const namedPipe = (directory: string) =>
  Effect.flatMap(
    attempt(() => Crypto.createHash("sha256").update(Fs.realpathSync.native(directory).toLowerCase()).digest("hex")),
    (hash) => listen(`\\\\.\\pipe\\effect-credentials-${hash}`)
  )

/** `O_EXLOCK`, which Node has no name for: open and flock in one system call. */
const exclusiveLock = 0x20

const lockedFile = (directory: string) =>
  Effect.acquireRelease(
    attemptTaking("EAGAIN", () => {
      const { O_CREAT, O_NONBLOCK, O_RDWR } = Fs.constants
      return Fs.openSync(Path.join(directory, "lock"), O_RDWR | O_CREAT | O_NONBLOCK | exclusiveLock, 0o600)
    }),
    (descriptor) => Effect.sync(() => Fs.closeSync(descriptor))
  )

/**
 * The owner is whoever answers at the highest `lock.N`. A dead owner's socket is never replaced, which could hit a
 * quicker process's new one: the next number is taken, and only one process can. The highest stays for good, so that
 * numbers never come back.
 */
const socketFile = (directory: string, mayBeMissing: boolean) =>
  Effect.gen(function* () {
    const descriptor = yield* Effect.acquireRelease(
      attempt(() => Fs.openSync(directory, Fs.constants.O_RDONLY | Fs.constants.O_DIRECTORY)),
      (descriptor) => Effect.sync(() => Fs.closeSync(descriptor))
    )
    // a short name for a long path: the kernel takes no socket path above 107 bytes
    const folder = `/proc/self/fd/${descriptor}`
    const draft = `${folder}/lock.draft-${Crypto.randomUUID()}`
    yield* listen(draft)

    let number = yield* attempt(() => highest(folder))
    if (number > 0 && (yield* isAnswered(`${folder}/lock.${number}`))) return yield* Effect.fail<Refusal>("Taken")
    number++
    // a link, because it appears at once and already answers; between a bind and its listen others would find it dead
    yield* attemptTaking("EEXIST", () => Fs.linkSync(draft, `${folder}/lock.${number}`))
    yield* attempt(() => Fs.unlinkSync(draft))
    // whoever read the numbers long ago may have taken one that was passed meanwhile
    if ((yield* attempt(() => highest(folder))) !== number) return yield* Effect.fail<Refusal>("Taken")
    yield* Effect.ignore(attempt(() => sweep(folder, number)))
  }).pipe(
    Effect.catchIf(
      (error) => mayBeMissing && error !== "Taken" && withoutSockets.has(error.code ?? ""),
      // some shared folders of desktop virtual machines take no sockets: there the abstract one holds alone
      () => Effect.void
    )
  )

const withoutSockets = new Set(["ENOTSUP", "EOPNOTSUPP", "ENOSYS", "EPERM"])

const numberOf = (name: string) => Number(/^lock\.(\d+)$/.exec(name)?.[1] ?? 0)

const highest = (folder: string) => Math.max(0, ...Fs.readdirSync(folder).map(numberOf))

const sweep = (folder: string, own: number) => {
  for (const name of Fs.readdirSync(folder)) {
    const number = numberOf(name)
    if (number > 0 && number < own) Fs.unlinkSync(`${folder}/${name}`)
  }
}

/** Anything but a refusal means a living owner, even one that is stopped or too busy to accept. */
const isAnswered = (path: string) =>
  Effect.async<boolean, NodeJS.ErrnoException>((resume) => {
    const socket = Net.connect(path)
    socket.once("connect", () => {
      socket.destroy()
      resume(Effect.succeed(true))
    })
    socket.once("error", (error: NodeJS.ErrnoException) =>
      resume(
        error.code === "ECONNREFUSED" || error.code === "ENOENT"
          ? Effect.succeed(false)
          : error.code === "EACCES"
            ? Effect.fail(error)
            : Effect.succeed(true)
      )
    )
  })
