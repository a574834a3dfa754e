import { reset } from 'cloudflare:test'
import { beforeAll } from 'vitest'

/** All test files share one runtime, so that the worker is transformed once; each begins with empty bindings. */
beforeAll(() => reset())
