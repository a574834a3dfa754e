import { app } from './app.ts'

export { TenantDirectory } from './tenants/directory.ts'

export default { fetch: app.fetch } satisfies ExportedHandler<Parameters<typeof app.fetch>[1]>
