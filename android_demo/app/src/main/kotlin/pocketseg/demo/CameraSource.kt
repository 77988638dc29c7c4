package pocketseg.demo

import android.annotation.SuppressLint
import android.content.Context
import android.graphics.ImageFormat
import android.hardware.camera2.CameraAccessException
import android.hardware.camera2.CameraCaptureSession
import android.hardware.camera2.CameraCharacteristics
import android.hardware.camera2.CameraDevice
import android.hardware.camera2.CameraManager
import android.media.Image
import android.media.ImageReader
import android.os.Handler
import android.os.HandlerThread
import pocketseg.live.FrameSource
import pocketseg.live.Latest
import pocketseg.live.Picture
import pocketseg.model.Problem
import pocketseg.model.Trouble
import pocketseg.pixels.Orientation
import pocketseg.pixels.Size
import pocketseg.pixels.YuvColours
import pocketseg.pixels.YuvLayout
import kotlin.math.abs

/**
 * The phone's camera through Camera2. [displayDegrees]: how far the display is turned now.
 *
 * All sources share one thread, so that one is closed before the next one opens. A camera that another app takes comes
 * back as soon as the system says that it is free.
 */
class CameraSource(private val context: Context, private val front: Boolean, private val displayDegrees: () -> Int) : FrameSource {
    // Of the camera's thread.
    private var device: CameraDevice? = null
    private var reader: ImageReader? = null
    private var layout: YuvLayout? = null
    private var id: String? = null
    private var opening = false
    private var waiting = false
    private var failures = 0
    private lateinit var frames: Latest
    private lateinit var told: (Trouble) -> Unit
    @Volatile private var stopped = false

    private val manager get() = context.getSystemService(CameraManager::class.java)

    private val available = object : CameraManager.AvailabilityCallback() {
        override fun onCameraAvailable(cameraId: String) {
            if (waiting && !opening && !stopped && cameraId == id && failures <= MAX_FAILURES) attempt(::open)
        }
    }

    override fun start(frames: Latest, failed: (Trouble) -> Unit) {
        this.frames = frames
        told = failed
        handler.post {
            if (stopped) return@post
            attempt {
                manager.registerAvailabilityCallback(available, handler)
                open()
            }
        }
    }

    /** Every call into the camera can fail at any time; the picture then stands still until the camera is free again. */
    private fun attempt(action: () -> Unit) =
        try {
            action()
        } catch (error: CameraAccessException) {
            lost(Problem.CAMERA_LOST, error.message)
        } catch (error: SecurityException) {
            lost(Problem.CAMERA_REFUSED, error.message)
        } catch (error: RuntimeException) { // IllegalArgumentException, IllegalStateException, and what vendors invent
            lost(Problem.CAMERA_FAILED, error.message ?: error.javaClass.simpleName)
        }

    private fun lost(problem: Problem, detail: String?) {
        opening = false
        waiting = true
        failures++
        close()
        if (!stopped) told(Trouble(problem, detail))
    }

    @SuppressLint("MissingPermission") // the activity asks before it makes a source; a refusal arrives as SecurityException
    private fun open() {
        val cameras = manager.cameraIdList.map { it to manager.getCameraCharacteristics(it).get(CameraCharacteristics.LENS_FACING) }
        val id = chooseCamera(cameras, front) ?: return told(Trouble(Problem.CAMERA_NONE))
        this.id = id
        val about = manager.getCameraCharacteristics(id)
        val sizes = about.get(CameraCharacteristics.SCALER_STREAM_CONFIGURATION_MAP)?.getOutputSizes(ImageFormat.YUV_420_888)
        val size = sizes.orEmpty().minByOrNull { abs(it.width * it.height - WANTED.pixels) }
            ?: return told(Trouble(Problem.CAMERA_FAILED, "no YUV_420_888"))
        val sensor = about.get(CameraCharacteristics.SENSOR_ORIENTATION) ?: 0
        val mirrored = about.get(CameraCharacteristics.LENS_FACING) == CameraCharacteristics.LENS_FACING_FRONT
        val reader = ImageReader.newInstance(size.width, size.height, ImageFormat.YUV_420_888, 3)
        this.reader = reader
        var degrees = -1
        var orientation = Orientation()
        reader.setOnImageAvailableListener({
            attempt {
                val image = it.acquireLatestImage() ?: return@attempt
                image.use {
                    if (degrees != displayDegrees()) {
                        degrees = displayDegrees()
                        orientation = Orientation.ofCamera(sensor, degrees, mirrored)
                    }
                    layout = frames.back.copy(image, layout, orientation, YuvColours.FULL_601)
                }
                failures = 0
                if (!stopped) frames.publish()
            }
        }, handler)
        opening = true
        waiting = false
        manager.openCamera(id, Opened(reader), handler)
    }

    private inner class Opened(private val reader: ImageReader) : CameraDevice.StateCallback() {
        override fun onOpened(camera: CameraDevice) {
            device = camera
            opening = false
            if (stopped) return close()
            attempt {
                val request = camera.createCaptureRequest(CameraDevice.TEMPLATE_PREVIEW)
                request.addTarget(reader.surface)
                val running = object : CameraCaptureSession.StateCallback() {
                    override fun onConfigured(session: CameraCaptureSession) {
                        if (!stopped && device === camera) attempt { session.setRepeatingRequest(request.build(), null, handler) }
                    }

                    override fun onConfigureFailed(session: CameraCaptureSession) = lost(Problem.CAMERA_FAILED, "its settings")
                }
                @Suppress("DEPRECATION") // its successor needs API 28
                camera.createCaptureSession(listOf(reader.surface), running, handler)
            }
        }

        override fun onDisconnected(camera: CameraDevice) {
            device = camera
            lost(Problem.CAMERA_LOST, null)
        }

        override fun onError(camera: CameraDevice, error: Int) {
            device = camera
            lost(if (error <= ERROR_MAX_CAMERAS_IN_USE) Problem.CAMERA_LOST else Problem.CAMERA_FAILED, "$error")
        }
    }

    override fun stop() {
        stopped = true
        handler.post {
            manager.unregisterAvailabilityCallback(available)
            if (!opening) close() // else when the system has answered, or the camera would stay open
        }
    }

    private fun close() {
        device?.close()
        device = null
        reader?.close()
        reader = null
    }

    companion object {
        private val WANTED = Size(1280, 720)
        private const val MAX_FAILURES = 5 // without a picture between
        private val handler by lazy { Handler(HandlerThread("camera").apply { start() }.looper) }
    }
}

/** The camera on the wished side, else one that was plugged in, else any; null when there is none. */
fun chooseCamera(cameras: List<Pair<String, Int?>>, front: Boolean): String? {
    val facing = if (front) CameraCharacteristics.LENS_FACING_FRONT else CameraCharacteristics.LENS_FACING_BACK
    val order = listOf(facing, CameraCharacteristics.LENS_FACING_EXTERNAL)
    return (order.firstNotNullOfOrNull { side -> cameras.firstOrNull { it.second == side } } ?: cameras.firstOrNull())?.first
}

/** Copy an image's planes; gives the layout to hand in with the next image, so that equal ones are not made again. */
fun Picture.copy(image: Image, known: YuvLayout?, orientation: Orientation, colours: YuvColours): YuvLayout {
    val (luma, u, v) = image.planes
    val crop = image.cropRect
    val deep = luma.pixelStride == 2 // 10 bits in two bytes: the upper one has what is shown
    val found = YuvLayout(Size(crop.width(), crop.height()), luma.rowStride, u.rowStride, u.pixelStride, luma.pixelStride)
    val layout = if (known == found) known else found
    val lumaStart = crop.top * luma.rowStride + crop.left * luma.pixelStride + (if (deep) 1 else 0)
    val chromaStart = crop.top / 2 * u.rowStride + crop.left / 2 * u.pixelStride + (if (deep) 1 else 0)
    luma.buffer.position(lumaStart)
    u.buffer.position(chromaStart)
    v.buffer.position(chromaStart)
    frame(layout, luma.buffer.remaining(), maxOf(u.buffer.remaining(), v.buffer.remaining()), orientation, colours)
    luma.buffer.get(y, 0, luma.buffer.remaining())
    u.buffer.get(this.u, 0, u.buffer.remaining())
    v.buffer.get(this.v, 0, v.buffer.remaining())
    return layout
}
