import { z } from 'zod'

/**
 * Every call of a Durable Object imports the worker's main module, and Vitest asks its server twice for what it has
 * already: about half of the time that these tests would take. The module is the same while tests run, so it is asked for
 * once.
 */
const Mocker = z.object({ moduleRunner: z.custom<ModuleRunner>((runner) => typeof runner === 'object') })

interface ModuleRunner {
  import(specifier: string, options?: object): Promise<unknown>
}

const known = new WeakSet<ModuleRunner>()
const { moduleRunner } = Mocker.parse(Reflect.get(globalThis, '__vitest_mocker__'))
if (!known.has(moduleRunner)) {
  known.add(moduleRunner)
  const ask = moduleRunner.import.bind(moduleRunner)
  const asked = new Map<string, Promise<unknown>>()
  moduleRunner.import = (specifier, options) => {
    if (options !== undefined || !specifier.endsWith('/edge/index.ts')) return ask(specifier, options)
    const answer = asked.get(specifier) ?? ask(specifier)
    asked.set(specifier, answer)
    return answer
  }
}
