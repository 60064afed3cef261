/** Everything that a schedule leaves to chance, drawn from one seed: the same seed gives the same draws, for ever. */

export class Chance {
  #a: number
  #b: number
  #c: number
  #d: number

  constructor(seed: number) {
    // splitmix32, so that neighbouring seeds have nothing in common
    let state = seed >>> 0
    const mixed = (): number => {
      state = (state + 0x9e3779b9) >>> 0
      let z = state
      z = Math.imul(z ^ (z >>> 16), 0x21f0aaad)
      z = Math.imul(z ^ (z >>> 15), 0x735a2d97)
      return (z ^ (z >>> 15)) >>> 0
    }
    this.#a = mixed()
    this.#b = mixed()
    this.#c = mixed()
    this.#d = mixed() | 1
  }

  /** 32 random bits (sfc32). */
  bits(): number {
    const sum = (((this.#a + this.#b) | 0) + this.#d) | 0
    this.#d = (this.#d + 1) | 0
    this.#a = this.#b ^ (this.#b >>> 9)
    this.#b = (this.#c + (this.#c << 3)) | 0
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + sum
    return sum >>> 0
  }

  /** At least 0, less than 1. */
  unit(): number {
    return this.bits() / 4294967296
  }

  /** At least `low`, less than `high`. */
  between(low: number, high: number): number {
    return low + (high - low) * this.unit()
  }

  /** A whole number at least 0, less than `below`. */
  below(below: number): number {
    return Math.floor(this.unit() * below)
  }

  /** True so often, of 1. */
  happens(probability: number): boolean {
    return probability > 0 && this.unit() < probability
  }

  pick<A>(of: readonly [A, ...ReadonlyArray<A>]): A {
    return of[this.below(of.length)] ?? of[0]
  }

  /** One of these, each as often as its weight says. */
  weighted<A>(of: readonly [readonly [number, A], ...ReadonlyArray<readonly [number, A]>]): A {
    let left = this.unit() * of.reduce((sum, [weight]) => sum + weight, 0)
    for (const [weight, value] of of) {
      left -= weight
      if (left < 0) return value
    }
    return of[0][1]
  }

  bytes(length: number): Buffer {
    const bytes = Buffer.alloc(length)
    for (let at = 0; at < length; at++) bytes[at] = this.bits() & 255
    return bytes
  }
}
