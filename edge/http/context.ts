import type { RequestId, TenantId } from '../../shared/ids.ts'
import type { Bindings, Platform } from '../env.ts'
import type { Timing } from './server-timing.ts'

/** What every request carries along its hops. */
export interface App {
  Bindings: Bindings
  Variables: {
    platform: Platform
    requestId: RequestId
    timings: Timing[]
  }
}

/** The same behind `authenticate`. */
export interface TenantApp {
  Bindings: App['Bindings']
  Variables: App['Variables'] & { tenant: TenantId }
}
