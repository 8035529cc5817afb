/**
 * The door "holdfast/testing": a machine in virtual time to test programs on, and the contract suites of a database, a transport and a server's store.
 * It needs no Node built-in; bring a database and a hash of the place where the tests run.
 */
export type { Engine, EngineOptions } from "../engine/engine.ts";
export { openEngine } from "../engine/engine.ts";
export type { TransportWorld } from "./contract.ts";
export type { ContractCase, DatabaseHarness } from "./database-contract.ts";
export { databaseContract } from "./database-contract.ts";
export { mortalDatabase } from "./mortal-database.ts";
export type { Random } from "./random.ts";
export { seededRandom } from "./random.ts";
export type { Scheduler } from "./scheduler.ts";
export { newScheduler } from "./scheduler.ts";
export type { StoreContractCase } from "./server-store-contract.ts";
export { serverStoreContract } from "./server-store-contract.ts";
export type { ServerStoreHarness } from "./server-store-scene.ts";
export { contractTypes, transportContract } from "./transport-contract.ts";
export type { VirtualDisk, VirtualMachine, VirtualMachineOptions } from "./virtual-machine.ts";
export { newVirtualMachine } from "./virtual-machine.ts";
export type { VirtualProcess } from "./virtual-world.ts";
export { bootProcess, isDeath } from "./virtual-world.ts";
