/**
 * A provider as a model: refresh tokens that rotate, a ledger of every one that was presented, and an answer for each that may
 * be late, cut, unreadable or a lie about its own health. A refresh token that was spent ends its grant when it comes back.
 */
import * as DateTime from "effect/DateTime"
import * as Effect from "effect/Effect"
import * as Either from "effect/Either"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import type { Handler } from "../../src/HandlerRegistry/Handler.ts"
import { type Answer, OutboundFailure } from "../../src/Outbound.ts"
import { Provider as Definition } from "../../src/Provider.ts"
import { readTokens } from "../../src/TokenEndpoint.ts"
import type { Machine } from "./Machine.ts"
import type { World } from "./World.ts"

export interface Faults {
  /** How often the request does not leave. */
  readonly unsent: number
  /** How often it is cut before it arrives, so that nothing is spent. */
  readonly cutBefore: number
  /** How often the answer is cut after the token was spent. */
  readonly cutAfter: number
  /** How often the answer comes too late, after the token was spent. */
  readonly late: number
  /** How often 200 comes with half of a body, after the token was spent. */
  readonly truncated: number
  readonly serverError: number
  readonly throttled: number
  /** How often it says `invalid_grant` in passing; only where the provider's data says that it does. */
  readonly inPassing: number
  /** How often the answer names no new refresh token, and the old one goes on. */
  readonly withoutRefreshToken: number
}

export interface Quirks {
  readonly rotates: boolean
  readonly endsAccessToken: boolean
  readonly reuseGraceSeconds: number | undefined
  readonly mayPass: boolean
  /** `revocationScope` */
  readonly revokes: "token" | "grant"
}

const definitions = new Map<string, Definition>()

/** The provider's data for these quirks. */
export const definitionOf = (quirks: Quirks): Definition => {
  const key = JSON.stringify(quirks)
  const known = definitions.get(key)
  if (known !== undefined) return known
  const made = Schema.decodeUnknownSync(Definition)({
    id: "acme",
    authorizationUrl: "https://acme.test/authorize",
    tokenUrl: "https://acme.test/token",
    revocationUrl: "https://acme.test/revoke",
    rotatesRefreshToken: quirks.rotates,
    refreshInvalidatesAccessToken: quirks.endsAccessToken,
    revocationScope: quirks.revokes,
    invalidGrantMayPass: quirks.mayPass,
    ...(quirks.reuseGraceSeconds !== undefined && { reuseGraceSeconds: quirks.reuseGraceSeconds })
  })
  definitions.set(key, made)
  return made
}

/** One time that a refresh token was sent. */
export interface Presentation {
  readonly token: string
  readonly machine: Machine
  readonly sentAt: number
  /** Whether the token was spent by it. */
  spent: boolean
  /** What was issued for it. */
  issued: { readonly refresh: string; readonly access: string } | undefined
  /** When the answer, with what was issued, was heard. */
  heardAt: number | undefined
  /** What was issued is not to be read from the answer. */
  isUnreadable: boolean
  /** The sender got an answer, or gave up. */
  isOver: boolean
}

interface RefreshToken {
  readonly parent: string | undefined
  readonly grant: number
  spentAt: number | undefined
}

interface AccessToken {
  readonly name: string
  readonly grant: number
  readonly expiresAt: number
  /** When a renewal ended it. */
  endedAt: number | undefined
}

const answer = (status: number, body: string, headers: Record<string, string> = {}): Answer => ({
  status,
  headers,
  body: Redacted.make(Buffer.from(body))
})

export class Provider {
  readonly definition: Definition
  readonly presentations: Array<Presentation> = []
  readonly #world: World
  readonly #quirks: Quirks
  readonly #faults: Faults
  readonly #lifetimeSeconds: number
  readonly #presented: (presentation: Presentation) => void
  readonly #refresh = new Map<string, RefreshToken>()
  readonly #access = new Map<string, AccessToken>()
  readonly #ended = new Set<number>()
  #grants = 0
  #issued = 0
  #downUntil = Number.NEGATIVE_INFINITY

  /** `presented` is told of each refresh token as it is sent. */
  constructor(
    world: World,
    options: { readonly quirks: Quirks; readonly faults: Faults; readonly lifetimeSeconds: number },
    presented: (presentation: Presentation) => void
  ) {
    this.#world = world
    this.#quirks = options.quirks
    this.#faults = options.faults
    this.#lifetimeSeconds = options.lifetimeSeconds
    this.#presented = presented
    this.definition = definitionOf(options.quirks)
  }

  get rotates(): boolean {
    return this.#quirks.rotates
  }

  get graceMillis(): number {
    return (this.#quirks.reuseGraceSeconds ?? 0) * 1000
  }

  get mayPass(): boolean {
    return this.#quirks.mayPass
  }

  goDown(millis: number): void {
    this.#world.tell("provider", () => `is down for ${Math.round(millis)} ms`)
    this.#downUntil = this.#world.now + millis
  }

  /** The tokens of a login. */
  login(lifetimeMillis: number): { readonly refresh: string; readonly access: string } {
    const grant = this.#grants++
    return this.#issue(grant, undefined, lifetimeMillis)
  }

  parentOf(refresh: string): string | undefined {
    return this.#refresh.get(refresh)?.parent
  }

  isIssued(refresh: string): boolean {
    return this.#refresh.has(refresh)
  }

  access(token: string): AccessToken | undefined {
    return this.#access.get(token)
  }

  spentAt(refresh: string): number | undefined {
    return this.#refresh.get(refresh)?.spentAt
  }

  hasEnded(refresh: string): boolean {
    const known = this.#refresh.get(refresh)
    return known === undefined || this.#ended.has(known.grant)
  }

  #issue(grant: number, parent: string | undefined, lifetimeMillis: number) {
    const number = this.#issued++
    const tokens = { refresh: `r${number}`, access: `a${number}` }
    this.#refresh.set(tokens.refresh, { parent, grant, spentAt: undefined })
    this.#grantAccess(tokens.access, grant, lifetimeMillis)
    return tokens
  }

  #grantAccess(name: string, grant: number, lifetimeMillis: number): void {
    this.#access.set(name, { name, grant, expiresAt: this.#world.now + lifetimeMillis, endedAt: undefined })
  }

  /** What the token endpoint does with a refresh token. */
  #spend(presentation: Presentation): Answer {
    const { token } = presentation
    const known = this.#refresh.get(token)
    const world = this.#world
    if (known === undefined || this.#ended.has(known.grant)) return answer(400, `{"error":"invalid_grant"}`)
    const { rotates } = this.#quirks
    if (rotates && known.spentAt !== undefined && world.now - known.spentAt > this.graceMillis) {
      world.tell("provider", () => `${token} was spent before: its grant ends`)
      this.#ended.add(known.grant)
      return answer(400, `{"error":"invalid_grant"}`)
    }
    if (this.#quirks.endsAccessToken) {
      for (const access of this.#access.values()) {
        if (access.grant === known.grant) access.endedAt ??= world.now
      }
    }
    presentation.spent = true
    const lifetime = this.#lifetimeSeconds * 1000
    if (!rotates || world.fails(this.#faults.withoutRefreshToken)) {
      const access = `a${this.#issued++}`
      this.#grantAccess(access, known.grant, lifetime)
      presentation.issued = { refresh: token, access }
      return answer(
        200,
        JSON.stringify({ access_token: access, token_type: "bearer", expires_in: this.#lifetimeSeconds })
      )
    }
    known.spentAt ??= world.now
    const issued = this.#issue(known.grant, token, lifetime)
    presentation.issued = issued
    return answer(
      200,
      JSON.stringify({
        access_token: issued.access,
        refresh_token: issued.refresh,
        token_type: "bearer",
        expires_in: this.#lifetimeSeconds
      })
    )
  }

  #respond(presentation: Presentation): Answer | "cut" | "late" {
    const { chance } = this.#world
    if (this.#world.now < this.#downUntil || this.#world.fails(this.#faults.serverError)) return answer(503, "{}")
    if (this.#world.fails(this.#faults.throttled))
      return answer(429, "{}", { "retry-after": String(1 + chance.below(5)) })
    if (this.#quirks.mayPass && this.#world.fails(this.#faults.inPassing))
      return answer(400, `{"error":"invalid_grant"}`)
    const given = this.#spend(presentation)
    if (given.status !== 200) return given
    if (this.#world.fails(this.#faults.cutAfter)) return "cut"
    if (this.#world.fails(this.#faults.late)) return "late"
    if (!this.#world.fails(this.#faults.truncated)) return given
    presentation.isUnreadable = true
    const body = Redacted.value(given.body)
    return { ...given, body: Redacted.make(body.subarray(0, Math.floor(body.length / 2))) }
  }

  #present(machine: Machine, token: string): Effect.Effect<Answer, OutboundFailure> {
    return Effect.async<Answer, OutboundFailure>((resume) => {
      const world = this.#world
      const { chance } = world
      const cancel: { run: () => void } = { run: () => {} }
      machine.takes(`provider refresh ${token}`, () => {
        if (this.#world.fails(this.#faults.unsent)) {
          machine.tell(() => `cannot reach the provider with ${token}`)
          world.after(chance.between(1, 50), machine, () =>
            resume(Effect.fail(new OutboundFailure({ sent: false, reason: "unreachable" })))
          )
          return
        }
        const presentation: Presentation = {
          token,
          machine,
          sentAt: world.now,
          spent: false,
          issued: undefined,
          heardAt: undefined,
          isUnreadable: false,
          isOver: false
        }
        this.presentations.push(presentation)
        machine.tell(() => `presents ${token}`)
        this.#presented(presentation)
        cancel.run = () => {
          presentation.isOver = true
        }
        const hear = (millis: number, what: string, result: Effect.Effect<Answer, OutboundFailure>, isHeard: boolean) =>
          world.after(millis, undefined, () =>
            machine.takes(`provider answer ${token}`, () =>
              machine.step(() => {
                if (presentation.isOver) return
                presentation.isOver = true
                if (isHeard) presentation.heardAt = world.now
                machine.tell(() => `hears of ${token}: ${what}`)
                resume(result)
              })
            )
          )
        const cut = new OutboundFailure({ sent: true, reason: "broken_off" })
        if (this.#world.fails(this.#faults.cutBefore)) {
          hear(chance.between(5, 500), "cut", Effect.fail(cut), false)
          return
        }
        world.after(chance.between(5, 300), undefined, () => {
          const given = this.#respond(presentation)
          const { issued } = presentation
          world.tell("provider", () =>
            issued === undefined ? `says no to ${token}` : `gives ${issued.refresh} and ${issued.access} for ${token}`
          )
          const millis = chance.between(5, 800)
          if (given === "late") hear(chance.between(4_000, 20_000), "too late", Effect.fail(cut), false)
          else if (given === "cut") hear(millis, "cut", Effect.fail(cut), false)
          else hear(millis, String(given.status), Effect.succeed(given), issued !== undefined)
        })
      })
      // the exchange's own timer
      return Effect.sync(() => cancel.run())
    })
  }

  /** What a process has of it. */
  handler(machine: Machine): Handler {
    const provider = this.definition
    return {
      provider,
      authorizationUrl: () => Redacted.make("https://acme.test/authorize"),
      exchange: () => Effect.die("no logins are simulated"),
      refresh: (token) => this.#present(machine, Redacted.value(token)),
      read: (given) => Effect.map(DateTime.now, (now) => readTokens(provider, given, now.epochMillis)),
      revoke: (redacted) =>
        Effect.async((resume) =>
          machine.takes("provider revoke", () => {
            const token = Redacted.value(redacted)
            const grant = (this.#refresh.get(token) ?? this.#access.get(token))?.grant
            this.#world.after(this.#world.chance.between(5, 300), undefined, () => {
              if (grant !== undefined) this.#ended.add(grant)
              this.#world.tell("provider", () => `revokes ${token}`)
              this.#world.after(5, machine, () => resume(Effect.succeed(Either.right(undefined))))
            })
          })
        )
    }
  }
}
