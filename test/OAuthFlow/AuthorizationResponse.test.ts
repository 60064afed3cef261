import { assert, describe, it } from "@effect/vitest"
import * as Either from "effect/Either"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { ProviderId } from "../../src/Credential.ts"
import { type CallbackParameters, grantOf } from "../../src/OAuthFlow/AuthorizationResponse.ts"

const provider = Schema.decodeUnknownSync(ProviderId)("acme")
const state = Redacted.make("the state")
const code = Redacted.make("the code")
const issuer = "https://acme.test"

type Expected = Option.Option.Value<Parameters<typeof grantOf>[2]>

const expecting = (expected: Partial<Expected>): Option.Option<Expected> =>
  Option.some({ requiresIss: false, keptParameters: [], ...expected })

const errorOf = (
  parameters: Omit<CallbackParameters, "state">,
  expected: Option.Option<Expected> = expecting({})
): string | undefined =>
  Either.match(grantOf({ state, ...parameters }, provider, expected), {
    onLeft: ({ error }) => error,
    onRight: () => undefined
  })

describe("an authorization response", () => {
  const cases: ReadonlyArray<[name: string, error: string | undefined, ...of: Parameters<typeof errorOf>]> = [
    ["with a code goes on", undefined, { code }],
    ["of the issuer goes on", undefined, { code, iss: issuer }, expecting({ issuer, requiresIss: true })],
    ["without an issuer goes on, where none is promised", undefined, { code }, expecting({ issuer })],
    ["with an issuer goes on, where none is known", undefined, { code, iss: issuer }],
    ["of a provider that is no longer known goes on", undefined, { code, iss: issuer }, Option.none()],
    ["of another issuer is refused", "issuer_mismatch", { code, iss: "https://evil.test" }, expecting({ issuer })],
    ["without its issuer is refused", "issuer_mismatch", { code }, expecting({ issuer, requiresIss: true })],
    [
      "of an issuer with a slash more is another's",
      "issuer_mismatch",
      { code, iss: `${issuer}/` },
      expecting({ issuer })
    ],
    [
      "that is another issuer's error says nothing of the login",
      "issuer_mismatch",
      { error: "access_denied", iss: "https://evil.test" },
      expecting({ issuer })
    ],
    ["names an error that is registered", "access_denied", { error: "access_denied" }],
    ["does not repeat another error", "other", { error: "<script>" }],
    ["with an error is not a grant, whatever code it has", "server_error", { code, error: "server_error" }],
    ["without code and error is none", "invalid_request", {}]
  ]

  for (const [name, error, ...response] of cases) {
    it(name, () => assert.strictEqual(errorOf(...response), error))
  }

  it("has kept what its provider's data names, and nothing else", () => {
    const parameters = { state, code, others: { realmId: "17", session_state: "x" } }
    assert.deepStrictEqual(
      grantOf(parameters, provider, expecting({ keptParameters: ["realmId", "shop"] })),
      Either.right({ code, kept: { realmId: "17" } })
    )
    assert.deepStrictEqual(grantOf(parameters, provider, Option.none()), Either.right({ code, kept: {} }))
  })
})
