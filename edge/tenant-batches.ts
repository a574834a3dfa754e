import { BatchesObject } from './batch-runner/batches-object.ts'
import { platformOf } from './platform.ts'

/** One per tenant: its batches. */
export class TenantBatches extends BatchesObject {
  protected override get platform() {
    return platformOf(this.env)
  }
}
