import { stubs, TestEdge } from './edge.ts'

/** Seeds a tenant, and gives it with the stub nodes in the order in which its adapter's requests go to them. */
export async function tenantAndNodes() {
  const admin = new TestEdge()
  await admin.seedBackbone()
  const tenant = await admin.seedTenant()
  const [first, second] = stubs.preferredBy(tenant.adapter)
  return { tenant, first, second }
}
