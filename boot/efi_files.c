/* The configuration and the files beside it, read from the volume that the program came from. */
#include "boot/efi_boot.h"

#include "boot/boot_path.h"
#include "boot/memory_map.h"
#include "kernel/core/bits.h"
#include "kernel/core/mem.h"

#define DEFAULT_CONF "traprock.conf"
#define CHUNK_MAX MIB(16)
#define CHUNK_MIN KIB(64)

static EFI_GUID loaded_image_guid = LOADED_IMAGE_PROTOCOL;
static EFI_GUID file_system_guid = SIMPLE_FILE_SYSTEM_PROTOCOL;
static EFI_GUID file_info_guid = EFI_FILE_INFO_ID;
static EFI_GUID shell_parameters_guid = EFI_SHELL_PARAMETERS_PROTOCOL_GUID;

/* ---- Where we are, and what we were asked for ---- */

/* The file-path nodes of the image's device path, joined. UEFI: File Path Media Device Path. */
static bool directory_of_image(const EFI_LOADED_IMAGE *image, CHAR16 *directory)
{
    const EFI_DEVICE_PATH_PROTOCOL *node = image->FilePath;
    static const CHAR16 separator[] = {'\\', 0};
    CHAR16 name[PATH_MAX];

    directory[0] = 0;
    while (node != NULL && !IsDevicePathEnd(node)) {
        UINTN length = DevicePathNodeLength(node);

        if (length < sizeof(*node))
            break;
        if (node->Type == MEDIA_DEVICE_PATH && node->SubType == MEDIA_FILEPATH_DP) {
            UINTN bytes = length - sizeof(*node);

            if (bytes / sizeof(CHAR16) >= PATH_MAX)
                return false;
            memset(name, 0, sizeof(name));
            memcpy(name, node + 1, bytes);
            if ((directory[0] != 0 && !path_append(directory, separator, 1)) ||
                !path_append(directory, name, PATH_MAX))
                return false;
        }
        node = (const EFI_DEVICE_PATH_PROTOCOL *)((const uint8_t *)node + length);
    }
    path_to_directory(directory);
    return true;
}

/* The configuration's name: from the shell the first argument, else from the load options. */
static bool conf_argument(struct boot *boot, const EFI_LOADED_IMAGE *image, CHAR16 *argument)
{
    EFI_SHELL_PARAMETERS_PROTOCOL *shell;

    if (!path_from_ascii(argument, DEFAULT_CONF))
        return false;
    if (EFI_ERROR(
            boot->services->HandleProtocol(boot->handle, &shell_parameters_guid, (void **)&shell)))
        return path_from_options(argument, image->LoadOptions, image->LoadOptionsSize);
    boot->from_shell = true;
    if (shell->Argc < 2)
        return true;
    argument[0] = 0;
    return path_append(argument, shell->Argv[1], PATH_MAX);
}

EFI_STATUS files_open_volume(struct boot *boot)
{
    EFI_LOADED_IMAGE *image;
    EFI_FILE_IO_INTERFACE *file_system;
    CHAR16 argument[PATH_MAX];
    EFI_STATUS status;

    status = boot->services->HandleProtocol(boot->handle, &loaded_image_guid, (void **)&image);
    if (!EFI_ERROR(status))
        status = boot->services->HandleProtocol(image->DeviceHandle, &file_system_guid,
                                                (void **)&file_system);
    if (!EFI_ERROR(status))
        status = file_system->OpenVolume(file_system, &boot->volume);
    if (EFI_ERROR(status)) {
        boot->volume = NULL;
        console_print(&boot->console,
                      "traprock: error: the volume that this program was loaded from cannot be "
                      "read (%s);\n  start it from a FAT file system, not over the network\n",
                      boot_status_text(status));
        return status;
    }
    if (!directory_of_image(image, boot->own_directory) || !conf_argument(boot, image, argument) ||
        !path_join(boot->conf_path, boot->own_directory, argument)) {
        console_print(&boot->console,
                      "traprock: error: the path of the program or of the configuration is longer "
                      "than %u characters;\n  move both closer to the volume's root\n",
                      PATH_MAX - 1);
        return EFI_INVALID_PARAMETER;
    }
    path_last_part(boot->conf_path, boot->conf_name, sizeof(boot->conf_name));
    return EFI_SUCCESS;
}

void files_close_volume(struct boot *boot)
{
    if (boot->volume != NULL)
        boot->volume->Close(boot->volume);
    boot->volume = NULL;
}

/* ---- Reading ---- */

/* Begins a message about a file: which one, and who asked for it. */
static void complain(struct boot *boot, const char *name, unsigned line)
{
    if (line != 0)
        console_print(&boot->console, "traprock: error: %s:%u: ", boot->conf_name, line);
    else
        console_print(&boot->console, "traprock: error: ");
    console_print(&boot->console, "file \"%s\" ", name);
}

/* The size of an open file, which must not be a directory. */
static EFI_STATUS file_size(struct boot *boot, EFI_FILE_HANDLE file, const char *name,
                            unsigned line, uint64_t *size)
{
    /* The structure ends in the file's name. */
    uint64_t room[sizeof(EFI_FILE_INFO) / 8 + PATH_MAX * sizeof(CHAR16) / 8];
    EFI_FILE_INFO *info = (EFI_FILE_INFO *)room;
    UINTN length = sizeof(room);
    EFI_STATUS status = file->GetInfo(file, &file_info_guid, &length, info);

    if (EFI_ERROR(status)) {
        complain(boot, name, line);
        console_print(&boot->console, "gives no size (%s); check the file system\n",
                      boot_status_text(status));
        return status;
    }
    if ((info->Attribute & EFI_FILE_DIRECTORY) != 0 || info->FileSize == 0) {
        complain(boot, name, line);
        console_print(&boot->console, "%s\n",
                      info->FileSize == 0 && (info->Attribute & EFI_FILE_DIRECTORY) == 0
                          ? "is empty; copy it again"
                          : "is a directory; name a file");
        return EFI_INVALID_PARAMETER;
    }
    *size = info->FileSize;
    return EFI_SUCCESS;
}

/* Reads all of an open file, with a dot for each tenth. */
static EFI_STATUS file_fill(struct boot *boot, EFI_FILE_HANDLE file, const char *name,
                            unsigned line, uint8_t *to, uint64_t size)
{
    uint64_t chunk = align_up(size / 10 + 1, CHUNK_MIN), done = 0, tenths = 0;

    if (chunk > CHUNK_MAX)
        chunk = CHUNK_MAX;
    while (done < size) {
        UINTN length = size - done < chunk ? size - done : chunk;
        EFI_STATUS status = file->Read(file, &length, to + done);

        if (EFI_ERROR(status) || length == 0) {
            console_print(&boot->console, "\n");
            complain(boot, name, line);
            console_print(&boot->console,
                          "breaks off after %llu of %llu bytes (%s); copy it again\n",
                          (unsigned long long)done, (unsigned long long)size,
                          EFI_ERROR(status) ? boot_status_text(status) : "truncated");
            return EFI_ERROR(status) ? status : EFI_END_OF_FILE;
        }
        done += length;
        for (; tenths < done * 10 / size; tenths++)
            console_print(&boot->console, ".");
    }
    return EFI_SUCCESS;
}

/* Allocates pages for an open file and reads it; the tail of the last page is zeroed. */
static EFI_STATUS file_load(struct boot *boot, EFI_FILE_HANDLE file, const char *name,
                            unsigned line, struct boot_file *entry)
{
    uint64_t size, base, pages;
    EFI_STATUS status = file_size(boot, file, name, line, &size);

    if (EFI_ERROR(status))
        return status;
    console_print(&boot->console, "traprock: reading %s, %llu KiB ", name,
                  (unsigned long long)(size / 1024 + (size % 1024 != 0)));
    pages = size / PAGE_SIZE + (size % PAGE_SIZE != 0);
    status = boot_allocate(boot, pages, PAGE_SIZE, UINT64_MAX, BOOT_MEMORY_FILE, &base);
    if (EFI_ERROR(status)) {
        uint32_t count;

        console_print(&boot->console, "\n");
        complain(boot, name, line);
        console_print(&boot->console, "needs %llu MiB of memory in one piece",
                      (unsigned long long)(size / MIB(1) + 1));
        if (!EFI_ERROR(leave_prepare(boot)) && (count = boot->info->memory_count) != 0)
            console_print(&boot->console, ", and the largest free piece has %llu MiB",
                          (unsigned long long)(memory_map_largest(boot->info->memory, count,
                                                                  BOOT_MEMORY_USABLE) /
                                               MIB(1)));
        console_print(&boot->console, ";\n  use a smaller file, or a machine with more memory\n");
        return status;
    }
    status = file_fill(boot, file, name, line, (uint8_t *)(uintptr_t)base, size);
    if (EFI_ERROR(status))
        return status;
    memset((uint8_t *)(uintptr_t)base + size, 0, pages * PAGE_SIZE - size);
    entry->base = base;
    entry->size = size;
    console_print(&boot->console, " ok\n");
    return EFI_SUCCESS;
}

/* Reads the file at path, on the boot volume, as the next of boot_info. */
static EFI_STATUS file_read(struct boot *boot, CHAR16 *path, const char *name, unsigned line)
{
    struct boot_file *entry = &boot->info->file[boot->info->file_count];
    EFI_FILE_HANDLE file;
    EFI_STATUS status;

    if (boot->info->file_count == BOOT_FILES_MAX || strlen(name) >= BOOT_NAME_MAX) {
        complain(boot, name, line);
        console_print(&boot->console,
                      "is one too many (at most %u), or has a name of over %u bytes\n",
                      BOOT_FILES_MAX, BOOT_NAME_MAX - 1);
        return EFI_INVALID_PARAMETER;
    }
    status = boot->volume->Open(boot->volume, &file, path, EFI_FILE_MODE_READ, 0);
    if (EFI_ERROR(status)) {
        complain(boot, name, line);
        console_print(&boot->console,
                      "cannot be opened (%s);\n  copy it onto the boot volume, %s\n",
                      boot_status_text(status),
                      line == 0 ? "beside this program" : "at that path from the configuration");
        return status;
    }
    status = file_load(boot, file, name, line, entry);
    file->Close(file);
    if (EFI_ERROR(status))
        return status;
    memcpy(entry->name, name, strlen(name) + 1);
    boot->info->file_count++;
    return EFI_SUCCESS;
}

EFI_STATUS files_read_conf(struct boot *boot)
{
    return file_read(boot, boot->conf_path, boot->conf_name, 0);
}

EFI_STATUS files_read(struct boot *boot, const char *name, unsigned line)
{
    CHAR16 wide[PATH_MAX], directory[PATH_MAX], path[PATH_MAX];

    for (uint32_t i = 1; i < boot->info->file_count; i++)
        if (strcmp(boot->info->file[i].name, name) == 0)
            return EFI_SUCCESS;
    memcpy(directory, boot->conf_path, sizeof(directory));
    path_to_directory(directory);
    if (!path_from_ascii(wide, name) || !path_join(path, directory, wide)) {
        complain(boot, name, line);
        console_print(&boot->console, "has a path that is too long, or not ASCII; rename it\n");
        return EFI_INVALID_PARAMETER;
    }
    return file_read(boot, path, name, line);
}
