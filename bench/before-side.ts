import { setTimeout as delay } from 'node:timers/promises'
import { CliFailure } from '../cli/command/failure.ts'
import { note } from '../cli/command/output.ts'
import { adminClient } from '../cli/edge/admin-client.ts'
import { adapterCount, type Measure, warmUp } from './before-measures.ts'
import { benchTenant } from './bench-tenant.ts'
import { type Checkout, titleOf } from './checkout.ts'
import { type Ending, startCheckout } from './started-checkout.ts'

/** Until the end of a process whose request broke is known. */
const lastWordsMs = 2_000

/** A checkout that runs and is warm. */
export interface Side {
  /** The process that all its others descend from. */
  readonly pid: number
  measure(measure: Measure): Promise<number>
}

/** Starts a checkout, which ends with `until`, and gives it the adapters that each side gets. */
export async function startSide(
  checkout: Checkout,
  { ending, until }: { readonly ending: Ending; readonly until: AsyncDisposableStack },
): Promise<Side> {
  const { folder } = checkout
  note(`starting ${titleOf(checkout)}`)
  const started = until.use(await startCheckout(checkout, ending))
  const during = async <T>(what: string, work: () => Promise<T>): Promise<T> => {
    try {
      return await work()
    } catch (cause) {
      ending.signal.throwIfAborted()
      // How a process ended tells more than the request that it broke.
      await Promise.race([started.failed, delay(lastWordsMs)])
      throw new CliFailure(`${folder} failed at ${what}: ${cause instanceof Error ? cause.message : cause}`, {
        remedy: 'if its API is too old for this benchmark, compare with a later commit',
        cause,
      })
    }
  }
  const admin = adminClient({ edge: started.edge, adminKey: started.adminKey })
  const made = { adapterCount, manifest: started.backbone }
  const tenant = await during('taking a tenant and its adapters', () => benchTenant(admin, made))
  note(`warming up ${folder}`)
  const under = { signal: ending.signal }
  await during('warming up', () => warmUp(tenant, under))
  return {
    pid: started.pid,
    measure: (measure) => during(measure.name, () => measure.of(tenant, under)),
  }
}
